# The frozen VAE encodes in bfloat16, one image at a time.
model = dict(vae=dict(precision='bfloat16', slicing=True))
