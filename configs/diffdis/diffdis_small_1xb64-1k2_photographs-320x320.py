# DiffDIS for photographs, trained in minutes on one GPU with --amp (docs/finetuning.md: DATA).
_base_ = [
    '../_base_/models/diffdis_small.py',
    '../_base_/datasets/photographs_320x320.py',
    '../_base_/schedules/schedule_1k2.py',
]

# The average reaches back over a tenth of the steps so far.
ema = dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=1e-4, gamma=10)
default_hooks = dict(ema=ema, checkpoint=dict(interval=600))
tta_model = dict(min_max=True)
