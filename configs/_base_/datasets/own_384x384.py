# Pictures of your own at the size of the tiny model.
_base_ = './own_1024x1024.py'

scale = (384, 384)
train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations', dtype='uint8'),
    dict(type='GenerateDISEdge'),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='DISResize', scale=scale, backend='torch'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDISInputs'),
]
val_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=scale),
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='PackDISInputs'),
]
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=scale),
    dict(type='LoadDISAnnotations'),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=test_pipeline))
