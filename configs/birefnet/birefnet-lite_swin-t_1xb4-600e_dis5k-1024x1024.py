# The release's small variant, BiRefNet_lite.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

model = dict(backbone=_base_.swin_tiny)
