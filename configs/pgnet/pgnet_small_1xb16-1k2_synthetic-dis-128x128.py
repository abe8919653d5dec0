# A small PGNet from scratch, on the synthetic set.
_base_ = [
    '../_base_/models/pgnet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    resnet=dict(_delete_=True, **_base_.resnet_small),
    swin=dict(
        embed_dims=24,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    swin_size=64,
    channels=16,
    num_heads=4,
)
