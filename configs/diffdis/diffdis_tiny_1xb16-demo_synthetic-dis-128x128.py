# A few minutes on two cores: what `make demo` trains.
_base_ = './diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py'

max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=250)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=20, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, end=max_iters, by_epoch=False),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=250, save_best=None),
)
custom_hooks = [dict(type='DISPanelHook'), dict(type='ProgressBarHook')]
# The bar shows it; the log lines would tear it apart.
log_level = 'WARNING'
