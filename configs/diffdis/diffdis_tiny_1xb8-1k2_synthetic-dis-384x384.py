# The tiny model at 384 pixels; mmdiffdis://diffdis_tiny is of it.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_384x384.py',
    '../_base_/schedules/schedule_1k2.py',
]

train_dataloader = dict(batch_size=8)
