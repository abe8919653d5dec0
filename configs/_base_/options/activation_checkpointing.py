# Recomputes the U-Net's blocks in the backward pass instead of keeping their activations.
model = dict(backbone=dict(with_cp=True))
