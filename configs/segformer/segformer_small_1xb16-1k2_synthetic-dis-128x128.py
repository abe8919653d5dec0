# SegFormer of half of MiT-B0's width, from scratch, on the synthetic set.
_base_ = [
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.scale[::-1]),
    backbone=dict(embed_dims=16, num_heads=[1, 2, 4, 8], drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[16, 32, 64, 128],
        channels=64,
        num_classes=2,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
)
