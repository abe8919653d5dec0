# InSPyReNet with Swin-B, 90.7 M parameters; the released test stretches each map to [0, 1].
_base_ = ['./imagenet_preprocessor.py', './swin.py', './res2net.py']

model = dict(
    type='InSPyReNet',
    data_preprocessor=dict(**_base_.imagenet_preprocessor, size_divisor=1),
    backbone=_base_.swin_base,
    channels=64,
    base_size=(1024, 1024),
    test_cfg=dict(min_max=True),
)
