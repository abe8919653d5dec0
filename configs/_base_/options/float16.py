# For GPUs without bfloat16. Stable Diffusion's VAE overflows in float16.
optim_wrapper = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
model = dict(vae=dict(precision='float32'))
