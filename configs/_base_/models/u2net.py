# U2-Net (https://github.com/xuebinqin/U-2-Net). Each image is divided by its largest value and then
# normalised as for ImageNet, and the released test stretches each map to [0, 1].
_base_ = './imagenet_preprocessor.py'

model = dict(
    type='U2Net',
    data_preprocessor=dict(
        _base_.imagenet_preprocessor, type='U2NetDataPreProcessor', size_divisor=1
    ),
    width=64,
    test_cfg=dict(min_max=True),
)
