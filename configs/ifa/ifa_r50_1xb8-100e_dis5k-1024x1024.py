# The release's recipe for Cityscapes, on DIS5K: SGD, the backbone's learning rate a tenth of the
# rest's, polynomial decay; half precision with --amp.
_base_ = [
    '../_base_/models/ifa.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

model = dict(min_kept=400_000)  # 100,000 on each of four GPUs with 2 images
train_pipeline = [
    *_base_.load_pair,
    _base_.resize,
    dict(type='DISRandomZoom', prob=1.0, scales=(0.5, 2.0)),
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
max_epochs = 100
param_scheduler = dict(type='PolyLR', power=0.9, end=max_epochs, convert_to_iter_based=True)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=5)
