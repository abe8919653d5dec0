# BEN2's training is not published: the recipe is MVANet's. Its released test shrinks images by LANCZOS and
# stretches each map to [0, 1].
_base_ = '../mvanet/mvanet_swin-b_1xb1-80e_dis5k-1024x1024.py'

model = dict(type='BEN2', test_cfg=dict(min_max=True))

resize = dict(type='Resize', scale=_base_.scale, interpolation='lanczos', backend='pillow')
test_pipeline = [_base_.load_image, resize, *_base_.load_gt_and_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
