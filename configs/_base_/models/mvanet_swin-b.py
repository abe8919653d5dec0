# MVANet with Swin-B, 94.1 M parameters; the backbone starts from ImageNet-22k.
_base_ = ['./imagenet_preprocessor.py', './swin.py']

model = dict(
    type='MVANet',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=_base_.swin_base,
    channels=128,
    head_channels=384,
)
