# Autocast to bfloat16, on a GPU or a CPU; it has float32's range, so losses are not scaled.
optim_wrapper = dict(type='BFloat16OptimWrapper')
