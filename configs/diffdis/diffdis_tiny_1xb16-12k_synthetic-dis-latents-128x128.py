# First stage of the shipped mmdiffdis://diffdis_tiny: where objects are, at half the drawn size, from
# latents that tools/dataset_converters/encode_latents.py encoded once (two passes of the base).
_base_ = './diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py'

max_iters = 12000
model = dict(data_preprocessor=dict(cutmix=None))
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='LatentDataset',
        latent_file='data/synthetic_dis/latents_128x128.safetensors',
    ),
)
train_cfg = dict(max_iters=max_iters, val_interval=2000)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    # Not down to nothing: the second stage goes on.
    dict(type='CosineAnnealingLR', eta_min=2e-4, begin=100, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=1000))
