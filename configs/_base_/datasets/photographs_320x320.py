# Photographs with masks: several folders <DATA>/<set>/{im,gt}/ (DATA is an environment variable).
_base_ = './own_384x384.py'

scale = (320, 320)
resize = dict(type='DISResize', scale=scale)
# Crops of another shape are squeezed to a square, as whole images are.
train_pipeline = [
    *_base_.load_pair,
    dict(type='DISRandomCrop', area=(0.3, 1.0), aspect=(0.67, 1.5), prob=0.8),
    dict(type='DISRandomRotate', prob=0.3, degree=20),
    dict(**resize, backend='torch'),
    dict(type='DISColorJitter', contrast=(0.6, 1.4), color=(0.0, 1.8)),
    *_base_.flip_and_pack,
]
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
sets = ['caltech101', 'caltech101_white', 'composites', 'electronics', 'fashion', 'pets', 'plants']
train_dataloader = dict(
    batch_size=64,
    num_workers=14,
    dataset=dict(subset=sets, part=None, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8, dataset=dict(subset='heldout', part=None, pipeline=test_pipeline)
)
test_dataloader = dict(
    batch_size=8, dataset=dict(subset='heldout', part=None, pipeline=test_pipeline)
)
tta_resizes = [dict(type='DISResize', scale=(side, side)) for side in (256, 320, 384)]
tta_pipeline = [
    _base_.load_image,
    dict(type='TestTimeAug', transforms=[tta_resizes, *_base_.tta_after_resize]),
]
