# GenPercept from scratch, at a size that a CPU trains.
_base_ = [
    '../_base_/models/genpercept_tiny.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

tta_model = dict(min_max=False)
