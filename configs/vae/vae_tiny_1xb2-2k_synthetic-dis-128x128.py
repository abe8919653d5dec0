# First stage of the tiny VAE: trained on crops of images, masks and edges at once.
_base_ = [
    '../_base_/models/vae_tiny.py',
    '../_base_/datasets/synthetic-dis_256x256.py',
    '../_base_/iteration_runtime.py',
]

model = dict(
    type='VAEReconstructor',
    data_preprocessor=dict(type='DISDataPreProcessor'),
    vae=dict(**_base_.vae, frozen=False),
    size=_base_.scale[::-1],
    image_weight=0.3,
)

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        pipeline=[
            _base_.load_image,
            dict(type='LoadDISAnnotations'),
            dict(type='GenerateDISEdge'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='DISColorJitter'),
            dict(type='RandomCrop', crop_size=(128, 128)),
            dict(type='PackDISInputs'),
        ]
    ),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2000, val_interval=500)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.99), weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=100, end=2000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=500))
