# FP-DIS with ResNet-50, from the paper; the backbone starts from ImageNet.
_base_ = ['./imagenet_preprocessor.py', './resnet.py']

model = dict(
    type='FPDIS',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=_base_.resnet50,
    channels=64,
    groups=4,
    filter_size=64,
)
