# BiRefNet with Swin-L, as released; the backbone starts from ImageNet-22k.
_base_ = ['./imagenet_preprocessor.py', './swin.py']

model = dict(
    type='BiRefNet',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=_base_.swin_large,
    # 'column-row-channel' for weights released before November 2024.
    patch_order='channel-row-column',
)
