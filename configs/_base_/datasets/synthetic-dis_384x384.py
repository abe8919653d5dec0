# The synthetic set enlarged to one and a half times its size: the tiny VAE does not resolve what is
# two pixels wide at 256 px.
_base_ = './synthetic-dis_256x256.py'

scale = (384, 384)
resize = dict(type='DISResize', scale=scale)
train_pipeline = [*_base_.load_and_augment, resize, dict(type='PackDISInputs')]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (320, 384, 448)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
