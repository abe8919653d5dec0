# The release's small variant.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

model = dict(
    backbone=dict(
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        init_cfg=dict(
            checkpoint=_base_.swin_weights + 'swin_tiny_patch4_window7_224_20220317-1cdeb081.pth'
        ),
    )
)
