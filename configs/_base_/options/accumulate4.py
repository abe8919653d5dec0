# Four batches an update. An iteration stays a batch: four times max_iters for as many updates.
optim_wrapper = dict(accumulative_counts=4)
