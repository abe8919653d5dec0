# The drawn set at half its size: for the first stage of a training, and small variants of other models.
_base_ = './synthetic-dis_256x256.py'

scale = (128, 128)
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
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='DISResize', scale=(side, side)) for side in (128, 192)],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
