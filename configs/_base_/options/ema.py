# A running mean of the weights is validated and saved as state_dict, those of training beside it.
default_hooks = dict(ema=dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3))
