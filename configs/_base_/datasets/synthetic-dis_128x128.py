# The synthetic set at half its size: for the first stage of a training, and for small baselines.
_base_ = './synthetic-dis_256x256.py'

scale = (128, 128)
resize = dict(type='DISResize', scale=scale)
train_pipeline = [*_base_.load_and_augment, resize, dict(type='PackDISInputs')]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (128, 192)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
