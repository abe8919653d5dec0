# A small BSA-Net from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/bsanet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(backbone=dict(**_base_.res2net_small, _delete_=True), channels=16)
