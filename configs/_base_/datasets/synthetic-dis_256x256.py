# The set that tools/dataset_converters/synthetic_dis.py generates, in DIS5K's layout. Its images
# have at least 256 px. Any other folder of this layout works as well (data_root).
_base_ = './dis5k_1024x1024.py'

data_root = 'data/synthetic_dis'
scale = (256, 256)

# Neither rotated nor recoloured: the set has many poses and colours already.
load_and_augment = [
    _base_.load_image,
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomCenterCrop', max_border=30),
]
resize = dict(type='DISResize', scale=scale)
train_pipeline = [*load_and_augment, resize, dict(type='PackDISInputs')]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
# The tiny model needs multiples of 64.
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (192, 256, 320)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]

train_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, subset='DIS-VD', pipeline=test_pipeline),
)
val_evaluator = dict(protocol='soft')
test_evaluator = dict(protocol='soft')
