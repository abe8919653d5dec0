# UDUN with ResNet-50, 24.9 M parameters; the backbone starts from ImageNet.
_base_ = ['./pgnet_preprocessor.py', './resnet.py']

model = dict(
    type='UDUN',
    data_preprocessor=_base_.data_preprocessor,
    backbone=_base_.resnet50,
    width=16,
)
