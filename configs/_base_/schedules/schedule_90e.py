# The paper's schedule: Adam, 3e-5, 90 epochs, batches of 4.
_base_ = '../default_runtime.py'

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3e-5),
    # The batch-discriminative embedding is trained from scratch, at ten times the learning rate.
    paramwise_cfg=dict(custom_keys={'backbone.bde': dict(lr_mult=10)}),
)
param_scheduler = dict(type='CompoundingDecayLR', gamma=0.95, step_size=30)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=5)
