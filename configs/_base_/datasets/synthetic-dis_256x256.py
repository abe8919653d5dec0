# The set that tools/dataset_converters/synthetic_dis.py draws, in DIS5K's layout. Its images are
# drawn from 256 px up; any folder of the same layout will do (--cfg-options, or inherit).
_base_ = './dis5k_1024x1024.py'

data_root = 'data/synthetic_dis'
scale = (256, 256)

# Neither turned nor recoloured: it is drawn in many poses and colours already.
train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISResize', scale=scale),
    dict(type='PackDISInputs'),
]
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=scale),
    dict(type='LoadDISAnnotations'),
    dict(type='PackDISInputs'),
]
# Scales whose sides the tiny model divides by 64.
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='DISResize', scale=(side, side)) for side in (192, 256, 320)],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(type='SeededSampler', endless=True),
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, subset='DIS-VD', pipeline=test_pipeline),
)
val_evaluator = dict(protocol='soft')
test_evaluator = dict(protocol='soft')
