# MVANet with Swin-B, 94.1 M parameters; its backbone starts from ImageNet-22k.
swin_weights = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'

model = dict(
    type='MVANet',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size_divisor=1,  # truths would not be padded along
    ),
    backbone=dict(
        type='SwinTransformer',
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=12,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=swin_weights + 'swin_base_patch4_window12_384_22k_20220317-e5c09f74.pth',
        ),
    ),
    channels=128,
    head_channels=384,
)
