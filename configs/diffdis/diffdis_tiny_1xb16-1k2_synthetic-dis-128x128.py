# The tiny model at a size that two CPU cores can train from images.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

tta_model = dict(min_max=True)
