# For GPUs without bfloat16. Autoencoders are computed in float32: Stable Diffusion's overflows.
optim_wrapper = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
