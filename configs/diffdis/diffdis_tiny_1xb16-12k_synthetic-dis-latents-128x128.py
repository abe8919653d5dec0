# First stage of mmdiffdis://diffdis_tiny: trains where objects are, at half the size of the set,
# from latents of two passes over it (tools/dataset_converters/encode_latents.py with the base).
_base_ = ['./diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py', '../_base_/datasets/latents.py']

max_iters = 12000
model = dict(data_preprocessor=dict(cutmix=None))
train_dataloader = dict(
    **_base_.latent_loader,
    dataset=dict(**_base_.latents, latent_file='data/synthetic_dis/latents_128x128.safetensors'),
)
train_cfg = dict(max_iters=max_iters, val_interval=2000)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    # Not down to 0: the second stage continues.
    dict(type='CosineAnnealingLR', eta_min=2e-4, begin=100, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=1000))
