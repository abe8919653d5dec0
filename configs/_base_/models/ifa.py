# IFA with ResNet-50, 27.8 M parameters; the backbone starts from ImageNet.
_base_ = ['./imagenet_preprocessor.py', './resnet.py']

model = dict(
    type='IFA',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    # dilations of the last stage's three blocks
    backbone=dict(**_base_.resnet50v1s, multi_grid=(2, 2, 4)),
    channels=256,
    num_frequencies=6,
    threshold=0.7,
    min_kept=100_000,
)
