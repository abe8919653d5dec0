# PGNet with ResNet-18 and three stages of Swin-B, 72.7 M parameters; both start from ImageNet.
_base_ = ['./pgnet_preprocessor.py', './resnet.py', './swin.py']

model = dict(
    type='PGNet',
    data_preprocessor=_base_.data_preprocessor,
    resnet=_base_.resnet18,
    swin=dict(
        type='SwinTransformer',
        embed_dims=128,
        depths=(2, 2, 18),
        num_heads=(4, 8, 16),
        strides=(4, 2, 2),
        window_size=7,
        out_indices=(),
        # 0.5 at the 24th block, which is left out with the last stage: the 22nd has this rate
        drop_path_rate=0.5 * 21 / 23,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=_base_.swin_weights
            + 'swin_base_patch4_window7_224_22k_20220317-4f79f7c0.pth',
        ),
    ),
    swin_size=224,
    channels=64,
    num_heads=8,
)
