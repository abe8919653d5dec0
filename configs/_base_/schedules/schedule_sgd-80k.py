# MMSegmentation's schedule for convolutional networks: SGD, polynomial decay, in iterations.
_base_ = '../iteration_runtime.py'

max_iters = 80_000
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005),
)
param_scheduler = dict(
    type='PolyLR', power=0.9, eta_min=1e-4, begin=0, end=max_iters, by_epoch=False
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 10)
default_hooks = dict(checkpoint=dict(interval=max_iters // 10))
