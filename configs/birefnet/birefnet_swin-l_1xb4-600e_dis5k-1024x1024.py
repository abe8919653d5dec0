# The release's recipe for DIS5K: AdamW, 1e-4 * sqrt(batch size / 4), constant, 600 epochs.
_base_ = [
    '../_base_/models/birefnet.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

augment_and_pack = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='RandomPepper'),
    dict(type='PackDISInputs'),
]
train_pipeline = [*_base_.load_pair, _base_.resize, *augment_and_pack]
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600, val_interval=5)
custom_hooks = [*_base_.custom_hooks, dict(type='RegionFinetuneHook', epochs=40)]
