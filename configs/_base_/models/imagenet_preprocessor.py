# Normalisation by ImageNet's mean and standard deviation. Models add `size`, as mmseg's stock
# models do, or `size_divisor=1`, which pads nothing: `gt_alpha` would not be padded with the image.
imagenet_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
