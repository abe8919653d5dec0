# A small FP-DIS from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/fpdis.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(backbone=dict(_delete_=True, **_base_.resnet_small), channels=32, filter_size=16)
