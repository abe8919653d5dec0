# Second stage of mmdiffdis://diffdis_tiny: trains detail, at the size of the set, from latents of
# one pass over it.
_base_ = ['./diffdis_tiny_1xb8-1k2_synthetic-dis-256x256.py', '../_base_/datasets/latents.py']

load_from = 'work_dirs/diffdis_tiny_1xb16-12k_synthetic-dis-latents-128x128/iter_12000.pth'
max_iters = 4000
model = dict(data_preprocessor=dict(cutmix=None))
train_dataloader = dict(
    **_base_.latent_loader,
    dataset=dict(**_base_.latents, latent_file='data/synthetic_dis/latents_256x256.safetensors'),
)
train_cfg = dict(max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=100, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=500))
