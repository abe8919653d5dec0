# The training of `make demo`: a few minutes on two cores, from scratch, from latents.
_base_ = ['./diffdis_tiny_1xb8-1k2_synthetic-dis-256x256.py', '../_base_/datasets/latents.py']

max_iters = 700
model = dict(data_preprocessor=dict(cutmix=None))
train_dataloader = dict(
    **_base_.latent_loader,
    dataset=dict(**_base_.latents, latent_file='data/synthetic_dis/latents_256x256.safetensors'),
)
train_cfg = dict(max_iters=max_iters, val_interval=350)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=20, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, end=max_iters, by_epoch=False),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=350, save_best=None),
)
custom_hooks = [*_base_.custom_hooks, dict(type='ProgressBarHook')]
# Log lines would break the progress bar, which shows the same.
log_level = 'WARNING'
