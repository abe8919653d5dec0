# A small BiRefNet from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/birefnet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(width=16, backbone=_base_.swin_small)
