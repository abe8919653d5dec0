# DIS5K (https://xuebinqin.github.io/dis): <data_root>/DIS-TR|DIS-VD|DIS-TE1..4/{im,gt}/
dataset_type = 'DIS5KDataset'
data_root = 'data/DIS5K'
scale = (1024, 1024)

train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations', dtype='uint8'),
    dict(type='GenerateDISEdge'),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='DISResize', scale=scale, backend='torch'),
    # Last, where it costs least; a window, an angle and their mirror images are equally likely.
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDISInputs'),
]
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=scale),
    # After the resizing: the truth keeps its size.
    dict(type='LoadDISAnnotations'),
    dict(type='PackDISInputs'),
]
# The released test: six passes, each stretched to [0, 1], averaged.
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='DISResize', scale=(int(scale[0] * ratio), int(scale[1] * ratio)))
                for ratio in (0.75, 1.0, 1.25)
            ],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]
tta_model = dict(type='DISTTAModel', min_max=True)

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
