# The paper's recipe was not at hand: Adam with polynomial decay, the backbone's learning rate a
# tenth; half precision with --amp.
_base_ = [
    '../_base_/models/fpdis.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.load_pair,
    *_base_.augment,
    _base_.resize,
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
max_epochs = 100
param_scheduler = dict(type='PolyLR', power=0.9, end=max_epochs, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
