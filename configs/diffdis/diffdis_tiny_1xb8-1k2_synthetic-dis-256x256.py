# The tiny model at the size of the synthetic set.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_256x256.py',
    '../_base_/schedules/schedule_1k2.py',
]

train_dataloader = dict(batch_size=8)
tta_model = dict(min_max=True)
