# Third stage of mmdiffdis://diffdis_tiny: trains thin structures, from latents of one pass.
_base_ = ['./diffdis_tiny_1xb8-1k2_synthetic-dis-384x384.py', '../_base_/datasets/latents.py']

load_from = 'work_dirs/diffdis_tiny_1xb8-4k_synthetic-dis-latents-256x256/iter_4000.pth'
max_iters = 3000
model = dict(data_preprocessor=dict(cutmix=None))
train_dataloader = dict(
    **_base_.latent_loader,
    dataset=dict(**_base_.latents, latent_file='data/synthetic_dis/latents_384x384.safetensors'),
)
train_cfg = dict(max_iters=max_iters, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=100, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=500))
