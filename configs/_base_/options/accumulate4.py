# Four batches per update. An iteration is still one batch: as many updates take 4 x max_iters.
optim_wrapper = dict(accumulative_counts=4)
