# A small ISDNet from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/isdnet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    backbone=dict(stem_channels=16, base_channels=16, init_cfg=None),
    shallow=dict(channels=(8, 16, 64, 128, 256), init_cfg=None),
    channels=32,
)
