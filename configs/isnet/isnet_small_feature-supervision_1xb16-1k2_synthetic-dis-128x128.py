# With feature supervision by the ground-truth encoder, which is trained before.
_base_ = './isnet_small_1xb16-1k2_synthetic-dis-128x128.py'

stem = 'isnet_small_gt-encoder_1xb16-1k2_synthetic-dis-128x128'
model = dict(
    gt_encoder=dict(
        type='ISNetGTEncoder',
        width=8,
        init_cfg=dict(type='Pretrained', checkpoint=f'work_dirs/{stem}/iter_1200.pth'),
    )
)
