# The release's recipe: single images, Adam, decay after epoch 60; half precision with --amp.
_base_ = [
    '../_base_/models/mvanet_swin-b.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    *_base_.load_pair,
    *_base_.augment,
    dict(**_base_.resize, backend='torch'),
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=1, dataset=dict(pipeline=train_pipeline))
# The six passes of the released test, which averages logits (`DISTTAModel`: probabilities).
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (768, 1024, 1152)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-5))
# The factor at epoch `begin` is 1, so epoch 61 is the first with a lower learning rate.
param_scheduler = dict(type='ExponentialLR', gamma=0.9, begin=59)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=5)
