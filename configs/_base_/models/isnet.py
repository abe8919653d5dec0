# IS-Net (https://github.com/xuebinqin/DIS): x / 255 - 0.5, and each map stretched to [0, 1].
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[127.5, 127.5, 127.5],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    size_divisor=1,  # truths would not be padded along
)
model = dict(
    type='ISNet',
    data_preprocessor=data_preprocessor,
    width=64,
    test_cfg=dict(min_max=True),
)
