# The release's variant with ResNet-18.
_base_ = './udun_r50_1xb8-48e_dis5k-1024x1024.py'

model = dict(backbone=_base_.resnet18)
