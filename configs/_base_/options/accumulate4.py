# Four batches per update. An iteration is still one batch: max_iters times four for as many
# updates.
optim_wrapper = dict(accumulative_counts=4)
