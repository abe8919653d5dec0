# U2-Net at 320x320. The recipe is the release's for DUTS (crops of 288, vertical flips, Adam, 1e-3, 600k
# iterations of 12 images); that it is applied to DIS5K, with soft masks and validations, is ours.
_base_ = [
    '../_base_/models/u2net.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/iteration_runtime.py',
]

scale = (320, 320)
resize = dict(type='DISResize', scale=scale)
train_pipeline = [
    _base_.load_image,
    dict(type='LoadDISAnnotations'),
    resize,
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='RandomCrop', crop_size=(288, 288)),
    dict(type='PackDISInputs'),
]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (240, 320, 400)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600_000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
