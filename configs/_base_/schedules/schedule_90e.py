# The paper's: Adam, 3e-5, 90 epochs, batches of 4.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=3e-5),
    # The batch-discriminative embedding starts from nothing: ten times the learning rate.
    paramwise_cfg=dict(custom_keys={'backbone.bde': dict(lr_mult=10)}),
)
param_scheduler = dict(type='CompoundingDecayLR', gamma=0.95, step_size=30)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
