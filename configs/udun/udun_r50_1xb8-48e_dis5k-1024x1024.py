# The release's recipe: SGD, a learning rate that rises linearly for half of the epochs and falls in
# the other half, the backbone's a tenth; half precision with --amp.
_base_ = [
    '../_base_/models/udun.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

# up to about an eighth of each side
crop = dict(type='DISRandomCrop', area=(49 / 64, 1.0), aspect=(7 / 8, 8 / 7), min_foreground=0.0)
train_pipeline = [
    *_base_.load_pair,
    crop,
    _base_.resize,
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            # the stem keeps its weights; its running statistics are updated
            'backbone.conv1': dict(lr_mult=0.0),
            'backbone.bn1': dict(lr_mult=0.0),
        }
    ),
)
max_epochs = 48
# epoch e = 1, 2, ... has the factor 1 - |2 e / 49 - 1|
param_scheduler = [
    dict(type='LinearLR', start_factor=2 / 49, end_factor=48 / 49, begin=0, end=24),
    dict(type='LinearLR', start_factor=1.0, end_factor=2 / 48, begin=24, end=max_epochs),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=4)
