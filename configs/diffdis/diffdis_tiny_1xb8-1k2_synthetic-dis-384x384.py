# The tiny model at 384 px, the size of mmdiffdis://diffdis_tiny.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_384x384.py',
    '../_base_/schedules/schedule_1k2.py',
]

train_dataloader = dict(batch_size=8)
tta_model = dict(min_max=True)
