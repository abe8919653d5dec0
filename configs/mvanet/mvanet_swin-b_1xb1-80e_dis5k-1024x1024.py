# As released: single images, Adam, half precision on a GPU (--amp), decaying after the 60th epoch.
_base_ = [
    '../_base_/models/mvanet_swin-b.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations', dtype='uint8'),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='DISResize', scale=_base_.scale, backend='torch'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(batch_size=1, dataset=dict(pipeline=train_pipeline))
# The released test: six passes. It averages logits, here probabilities are averaged.
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='DISResize', scale=(side, side)) for side in (768, 1024, 1152)],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]
tta_model = dict(min_max=False)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5))
# The factor of the epoch at which it begins is 1: the 61st is the first of a lower rate.
param_scheduler = dict(type='ExponentialLR', gamma=0.9, begin=59)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
