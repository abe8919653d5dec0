# DIS5K (https://xuebinqin.github.io/dis): <data_root>/DIS-TR|DIS-VD|DIS-TE1..4/{im,gt}/
dataset_type = 'DIS5KDataset'
data_root = 'data/DIS5K'
scale = (1024, 1024)

# Pieces of pipelines. A child's list replaces its base's, so configs that change a step build their
# pipelines of these pieces, e.g. [*_base_.load_pair, *_base_.augment, _base_.resize, ...].
load_image = dict(type='LoadDISImage')
load_pair = [load_image, dict(type='LoadDISAnnotations', dtype='uint8')]
augment = [
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
]
resize = dict(type='DISResize', scale=scale)
# The flip comes last, where it costs least: crops and angles are symmetrically distributed.
flip_and_pack = [dict(type='RandomFlip', prob=0.5), dict(type='PackDISInputs')]
# After the resize, so that the ground truth keeps its size.
load_gt_and_pack = [dict(type='LoadDISAnnotations'), dict(type='PackDISInputs')]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (768, 1024, 1280)]
tta_after_resize = [
    [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
    *[[step] for step in load_gt_and_pack],
]

train_pipeline = [
    *load_pair,
    dict(type='GenerateDISEdge'),
    *augment,
    dict(**resize, backend='torch'),
    *flip_and_pack,
]
test_pipeline = [load_image, resize, *load_gt_and_pack]
# The six passes of the released DiffDIS test.
tta_pipeline = [
    load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *tta_after_resize]),
]
tta_model = dict(type='DISTTAModel')

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='SeededSampler'),
    dataset=dict(type=dataset_type, data_root=data_root, subset='DIS-TR', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type=dataset_type, data_root=data_root, subset='DIS-VD', pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        subset=['DIS-VD', 'DIS-TE1', 'DIS-TE2', 'DIS-TE3', 'DIS-TE4'],
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='DISMetric', protocol='diffdis')
test_evaluator = val_evaluator
