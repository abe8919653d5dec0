# Runtime of trainings that are counted in iterations (`IterBasedTrainLoop`).
_base_ = './default_runtime.py'

log_processor = dict(by_epoch=False)
default_hooks = dict(logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False))
