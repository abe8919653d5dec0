# BSA-Net with Res2Net-50, 28.8 M parameters; the released test stretches each map to [0, 1].
_base_ = ['./imagenet_preprocessor.py', './res2net.py']

model = dict(
    type='BSANet',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=_base_.res2net50,
    channels=64,
    test_cfg=dict(min_max=True),
)
