# Res2Net-50, whose test is at 384x384 without blending, as in the release. That it is trained on DIS5K,
# for as long as Swin-B, is ours: the release has weights of DUTS alone (60 epochs).
_base_ = './inspyrenet-lr_swin-b_1xb6-180e_dis5k-384x384.py'

model = dict(
    backbone=dict(**_base_.res2net50_dilated, _delete_=True), test_cfg=dict(blend_above=None)
)

test_pipeline = [_base_.load_image, _base_.resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (288, 384, 480)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
