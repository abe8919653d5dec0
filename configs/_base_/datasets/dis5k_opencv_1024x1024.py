# DIS5K resized by OpenCV's bilinear interpolation, which does not antialias: the released IS-Net
# and BiRefNet were trained and tested with it.
_base_ = './dis5k_1024x1024.py'

resize = dict(**_base_.resize, backend='cv2')
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(**step, backend='cv2') for step in _base_.tta_resizes]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]

val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
