# MaskDecoder alone, for latents of TAESD or Stable Diffusion, on crops of your own pairs
# (train_dataloader.dataset.data_root: im/ and gt/). `model.decode_head` of its checkpoint is a start
# for diffdis_sd-turbo_mask-decoder.
_base_ = ['../_base_/datasets/own_384x384.py', '../_base_/iteration_runtime.py']

scale = (384, 384)
model = dict(
    type='VAEReconstructor',
    data_preprocessor=dict(type='DISDataPreProcessor'),
    vae=dict(type='TinyAutoencoder', init_cfg=dict(type='TAESDInit')),
    decode_head=dict(type='MaskDecoder', latent_weight=0.0, init_cfg=dict(type='TAESDInit')),
    size=(scale[1], scale[0]),
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        pipeline=[
            *_base_.load_pair,
            dict(type='GenerateDISEdge'),
            dict(type='DISColorJitter'),
            dict(type='RandomCrop', crop_size=(256, 256)),
            *_base_.flip_and_pack,
        ]
    ),
)
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=500)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=50, end=1000, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=500))
