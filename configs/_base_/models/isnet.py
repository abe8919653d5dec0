# IS-Net (https://github.com/xuebinqin/DIS). Its input is x / 255 - 0.5, and its released test
# stretches each map to [0, 1].
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[127.5, 127.5, 127.5],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    size_divisor=1,  # no padding: `gt_alpha` would not be padded with the image
)
model = dict(
    type='ISNet',
    data_preprocessor=data_preprocessor,
    width=64,
    test_cfg=dict(min_max=True),
)
