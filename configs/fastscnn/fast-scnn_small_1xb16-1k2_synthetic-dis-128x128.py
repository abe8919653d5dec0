# MMSegmentation's Fast-SCNN for two classes, from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/imagenet_preprocessor.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

norm_cfg = dict(type='BN', requires_grad=True, momentum=0.01)
head = dict(
    channels=32,
    num_classes=2,
    norm_cfg=norm_cfg,
    align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size=_base_.scale[::-1]),
    backbone=dict(
        type='FastSCNN',
        downsample_dw_channels=(32, 48),
        global_in_channels=64,
        global_block_channels=(64, 96, 128),
        global_block_strides=(2, 2, 1),
        global_out_channels=128,
        higher_in_channels=64,
        lower_in_channels=128,
        fusion_out_channels=128,
        out_indices=(0, 1, 2),
        norm_cfg=norm_cfg,
        align_corners=False,
    ),
    decode_head=dict(
        type='DepthwiseSeparableFCNHead',
        in_channels=128,
        channels=128,
        concat_input=False,
        num_classes=2,
        in_index=-1,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=[
        dict(type='FCNHead', in_channels=128, num_convs=1, in_index=-2, **head),
        dict(type='FCNHead', in_channels=64, num_convs=1, in_index=-3, **head),
    ],
    train_cfg={},
    test_cfg=dict(mode='whole'),
)
