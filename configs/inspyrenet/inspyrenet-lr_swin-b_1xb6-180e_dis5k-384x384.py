# The release's recipe at 384x384. Its test shrinks the shorter side to 1280, and blends the pyramid of
# the image with that at 384x384 if the shorter side is above 512.
_base_ = './inspyrenet_swin-b_1xb1-180e_dis5k-1024x1024.py'

model = dict(base_size=(384, 384), test_cfg=dict(blend_above=512))

scale = (384, 384)
resize = dict(type='DISResize', scale=scale)
train_pipeline = [
    *_base_.load_pair,
    dict(**resize, backend='torch'),
    *_base_.augment_and_pack,
]
shrink = dict(type='DISShrink', shorter_side=1280, divisor=32)
test_pipeline = [_base_.load_image, shrink, *_base_.load_gt_and_pack]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[[shrink], *_base_.tta_after_resize]),
]
train_dataloader = dict(batch_size=6, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
