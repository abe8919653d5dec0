# ResNets (https://arxiv.org/abs/1512.03385) for baselines, starting from torchvision's ImageNet
# weights; `resnet_small` is trained from scratch.
resnet_weights = 'https://download.pytorch.org/models/'

resnet50 = dict(
    type='ResNet',
    depth=50,
    init_cfg=dict(type='Pretrained', checkpoint=resnet_weights + 'resnet50-19c8e357.pth'),
)
resnet50v1s = dict(
    type='ResNetV1s',
    depth=50,
    stem_channels=128,
    # GluonCV's ImageNet weights, as PyTorch files of timm
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/gluon_resnet50_v1s-1762acc0.pth',
    ),
)
resnet34 = dict(
    type='ResNet',
    depth=34,
    init_cfg=dict(type='Pretrained', checkpoint=resnet_weights + 'resnet34-333f7ec4.pth'),
)
resnet18 = dict(
    type='ResNet',
    depth=18,
    init_cfg=dict(type='Pretrained', checkpoint=resnet_weights + 'resnet18-5c106cde.pth'),
)
resnet_small = dict(type='ResNet', depth=18, stem_channels=16, base_channels=16)
