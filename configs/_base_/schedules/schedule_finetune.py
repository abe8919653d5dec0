# For fine-tuning trained weights: a small learning rate, a short warm-up, then a cosine decay to 0.
# The checkpoint of the best validation is kept.
_base_ = '../iteration_runtime.py'

max_iters = 2000
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=200)
optim_wrapper = dict(
    type='OptimWrapper',
    # A third of the paper's learning rate from SD-Turbo.
    optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=50, end=max_iters, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=200))
