# Moving average of the weights: validated, and saved as state_dict, beside the weights in training.
# It covers the last tenth of the training so far, up to 1000 iterations (1 / momentum).
default_hooks = dict(
    ema=dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=1e-3, gamma=10)
)
