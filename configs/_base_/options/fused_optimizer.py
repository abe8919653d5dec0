# Adam or AdamW in one kernel for all weights.
optim_wrapper = dict(optimizer=dict(fused=True))
