# DeepLabV3+ with a ResNet-18 of a quarter of the width, from scratch, on the synthetic set.
_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=_base_.scale[::-1]),
    pretrained=None,
    backbone=dict(depth=18, base_channels=16, stem_channels=16, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=128,
        channels=32,
        # The last feature map has 16x16 pixels.
        dilations=(1, 2, 4, 6),
        c1_in_channels=16,
        c1_channels=12,
        num_classes=2,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(in_channels=64, channels=16, num_classes=2, norm_cfg=norm_cfg),
)
