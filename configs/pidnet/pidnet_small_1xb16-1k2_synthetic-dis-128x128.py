# PIDNet of a quarter of the width, from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/pidnet-s.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.scale[::-1]),
    backbone=dict(channels=8, ppm_channels=24),
    decode_head=dict(in_channels=32, channels=32),
)
train_pipeline = [
    _base_.load_image,
    dict(type='LoadDISAnnotations'),
    dict(type='DISRandomCenterCrop', max_border=30),
    _base_.resize,
    dict(type='GenerateDISEdge'),  # after the resize, so that edges stay 0 or 1
    *_base_.flip_and_pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
