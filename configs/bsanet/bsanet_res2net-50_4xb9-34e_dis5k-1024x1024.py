# The release's recipe at 384x384, with 1024x1024: Adam, gradients clipped by value, a tenth of the
# learning rate at the 30th epoch and again at each later one; no augmentation.
_base_ = [
    '../_base_/models/bsanet.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.load_pair,
    dict(type='GenerateDISEdge'),
    dict(**_base_.resize, backend='torch'),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(batch_size=9, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=8e-5),
    clip_grad=dict(type='value', clip_value=0.5),
)
max_epochs = 34
param_scheduler = dict(type='MultiStepLR', milestones=[*range(29, max_epochs)], gamma=0.1)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=2)
