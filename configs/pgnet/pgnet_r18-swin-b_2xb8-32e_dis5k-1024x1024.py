# The release's recipe for salient objects on DIS5K: SGD, the Swin's learning rate a tenth; each
# batch has a random height and width around 1024; half precision with --amp.
_base_ = [
    '../_base_/models/pgnet.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

# up to about an eighth of each side
crop = dict(type='DISRandomCrop', area=(49 / 64, 1.0), aspect=(7 / 8, 8 / 7), min_foreground=0.0)
train_pipeline = [
    *_base_.load_pair,
    _base_.resize,
    crop,
    *_base_.flip_and_pack,
]
train_dataloader = dict(
    batch_size=8,
    drop_last=True,
    collate_fn=dict(type='collate_at_random_size', sides=(960, 1088)),
    dataset=dict(pipeline=train_pipeline),
)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(custom_keys={'swin.': dict(lr_mult=0.1)}),
)
max_epochs = 32
param_scheduler = dict(type='PGNetLR', end=max_epochs, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=4)
