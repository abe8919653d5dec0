# bfloat16 where it is safe (autocast), on a GPU or a CPU; it has float32's range.
optim_wrapper = dict(type='BFloat16OptimWrapper')
