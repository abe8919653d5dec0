# A small IFA from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/ifa.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    backbone=dict(_delete_=True, **{**_base_.resnet_small, 'type': 'ResNetV1s'}, multi_grid=(2, 4)),
    channels=32,
)
