# Swin Transformers (https://arxiv.org/abs/2103.14030) for baselines, starting from mmseg's ImageNet
# weights; `swin_small` is trained from scratch.
swin_weights = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'

swin_large = dict(
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
)
swin_base = {
    **swin_large,
    'embed_dims': 128,
    'num_heads': (4, 8, 16, 32),
    'init_cfg': dict(
        type='Pretrained',
        checkpoint=swin_weights + 'swin_base_patch4_window12_384_22k_20220317-e5c09f74.pth',
    ),
}
swin_tiny = {
    **swin_large,
    'embed_dims': 96,
    'depths': (2, 2, 6, 2),
    'num_heads': (3, 6, 12, 24),
    'window_size': 7,
    'init_cfg': dict(
        type='Pretrained',
        checkpoint=swin_weights + 'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth',
    ),
}
swin_small = dict(
    type='SwinTransformer',
    embed_dims=24,
    depths=(2, 2, 2, 2),
    num_heads=(2, 4, 8, 16),
    window_size=4,
    drop_path_rate=0.0,
    init_cfg=None,
)
