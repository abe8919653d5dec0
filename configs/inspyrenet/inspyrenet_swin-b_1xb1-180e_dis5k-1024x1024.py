# The release's recipe at 1024x1024: Adam, 1e-5 for the backbone and 1e-4 for the decoder, a warm-up of
# 12000 iterations, and a polynomial decay to 1e-7.
_base_ = [
    '../_base_/models/inspyrenet.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/default_runtime.py',
]

augment_and_pack = [
    dict(type='DISRandomZoom', prob=0.5, scales=(0.75, 1.25)),
    dict(type='DISRandomRotate', prob=0.5, degree=10),
    dict(
        type='DISColorJitter',
        brightness=(1.0, 1.1),
        contrast=(1.0, 1.1),
        color=(1.0, 1.0),
        sharpness=(1.0, 1.1),
    ),
    *_base_.flip_and_pack,
]
train_pipeline = [
    *_base_.load_pair,
    dict(**_base_.resize, backend='torch'),
    *augment_and_pack,
]
train_dataloader = dict(batch_size=1, drop_last=True, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=12_000, by_epoch=False),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=1e-7,
        begin=0,
        end=180,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=180, val_interval=5)
