# A small BiRefNet from scratch, on drawn images.
_base_ = [
    '../_base_/models/birefnet.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]

model = dict(
    width=16,
    backbone=dict(
        embed_dims=24,
        depths=(2, 2, 2, 2),
        num_heads=(2, 4, 8, 16),
        window_size=4,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
)
tta_model = dict(min_max=False)
