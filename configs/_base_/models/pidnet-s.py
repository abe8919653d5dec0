# MMSegmentation's PIDNet-S for two classes. Its boundary loss needs edge maps of 0 and 1.
_base_ = './imagenet_preprocessor.py'

norm_cfg = dict(type='BN', requires_grad=True)
ohem = dict(type='OhemCrossEntropy', thres=0.9, min_kept=131072, loss_weight=1.0)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size=(1024, 1024)),
    backbone=dict(
        type='PIDNet',
        channels=32,
        ppm_channels=96,
        num_stem_blocks=2,
        num_branch_blocks=3,
        align_corners=False,
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='PIDHead',
        in_channels=128,
        channels=128,
        num_classes=2,
        norm_cfg=norm_cfg,
        align_corners=True,
        loss_decode=[
            dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
            ohem,
            dict(type='BoundaryLoss', loss_weight=20.0),
            ohem,
        ],
    ),
    test_cfg=dict(mode='whole'),
)
