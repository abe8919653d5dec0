# A quarter of the width, from scratch, on the drawn set.
_base_ = [
    '../_base_/models/pidnet-s.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.scale),
    backbone=dict(channels=8, ppm_channels=24),
    decode_head=dict(in_channels=32, channels=32),
)
# Edges after the resizing: of whole pixels.
train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations'),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISResize', scale=_base_.scale),
    dict(type='GenerateDISEdge'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
