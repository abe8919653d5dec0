# The size of the release's BiRefNet_HR, whose weights learnt from more than DIS5K.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

scale = (2048, 2048)
resize = dict(type='DISResize', scale=scale, backend='cv2')
train_pipeline = [*_base_.load_pair, resize, *_base_.augment_and_pack]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [
    dict(type='DISResize', scale=(side, side), backend='cv2') for side in (1536, 2048, 2560)
]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
