# Fine-tunes the shipped tiny model on DATA/{im,gt}/ (docs/finetuning.md).
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/own_384x384.py',
    '../_base_/schedules/schedule_finetune.py',
]

load_from = 'mmdiffdis://diffdis_tiny'
model = dict(test_cfg=dict(val_loss=True))
tta_model = dict(min_max=True)

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=100)
# A small network needs a larger learning rate.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=20, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0, begin=20, end=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(interval=100))
