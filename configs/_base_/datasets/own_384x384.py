# Your own images at the size of the tiny model.
_base_ = './own_1024x1024.py'

scale = (384, 384)
resize = dict(type='DISResize', scale=scale)
train_pipeline = [
    *_base_.load_pair,
    dict(type='GenerateDISEdge'),
    *_base_.augment,
    dict(**resize, backend='torch'),
    *_base_.flip_and_pack,
]
val_pipeline = [_base_.load_image, resize, *_base_.load_gt_edge_and_pack]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (320, 384, 448)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=test_pipeline))
