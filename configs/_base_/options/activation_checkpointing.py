# The U-Net's blocks are computed again in the backward pass instead of kept.
model = dict(backbone=dict(with_cp=True))
