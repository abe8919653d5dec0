# The tiny model at the size that the synthetic set is drawn in.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_256x256.py',
    '../_base_/schedules/schedule_1k2.py',
]

train_dataloader = dict(batch_size=8)
