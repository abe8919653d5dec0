# torch.compile of the training step; the first steps take minutes.
compile = dict(dynamic=False)
