# A tiny GenPercept from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/genpercept_tiny.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]
