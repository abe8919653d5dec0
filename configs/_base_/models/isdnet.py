# ISDNet with ResNet-18 and STDC, 17.8 M parameters; both start from mmseg's ImageNet weights.
_base_ = './imagenet_preprocessor.py'

model = dict(
    type='ISDNet',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        contract_dilation=True,
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnet18_v1c'),
    ),
    shallow=dict(
        channels=(32, 64, 256, 512, 1024),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/stdc/stdc1_20220308-5368626c.pth',
        ),
    ),
    channels=128,
)
