# Normalisation of images in the released PGNet and UDUN.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[124.55, 118.90, 102.94],
    std=[56.77, 55.97, 57.50],
    bgr_to_rgb=True,
    size_divisor=1,  # no padding: `gt_alpha` would not be padded with the image
)
