# BiRefNet with Swin-L, as released; its backbone starts from ImageNet-22k.
swin_weights = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'

model = dict(
    type='BiRefNet',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,  # truths would not be padded along
    ),
    backbone=dict(
        type='SwinTransformer',
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        window_size=12,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=swin_weights + 'swin_large_patch4_window12_384_22k_20220412-6580f57d.pth',
        ),
    ),
    # Weights released before November 2024: 'column-row-channel'.
    patch_order='channel-row-column',
)
