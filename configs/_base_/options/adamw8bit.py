# Keeps Adam's two moments in 8 bits instead of 32 (bitsandbytes, CUDA only).
optim_wrapper = dict(optimizer=dict(type='AdamW8bit'))
