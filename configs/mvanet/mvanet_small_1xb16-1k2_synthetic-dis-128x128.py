# A small MVANet from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/mvanet_swin-b.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(backbone=_base_.swin_small, channels=32, head_channels=48)
