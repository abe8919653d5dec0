# U2-Net of an eighth of the width, on the synthetic set.
_base_ = [
    '../_base_/models/u2net.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(width=8)
