# A small InSPyReNet from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/inspyrenet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(backbone=_base_.swin_small, channels=16, base_size=(128, 128))
