# The release's BiRefNet_dynamic: each batch has a height and a width of its own, from 256 to 2304.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='RandomPepper'),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(
    collate_fn=dict(type='collate_at_random_size', sides=(256, 2304)),
    dataset=dict(pipeline=train_pipeline),
)
