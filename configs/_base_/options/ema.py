# Moving average of the weights: validated, and saved as state_dict, beside the weights in training.
default_hooks = dict(ema=dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3))
