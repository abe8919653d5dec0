# The release's BiRefNet_dynamic: each batch has a random height and width from 256 to 2304.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

train_pipeline = [_base_.load_image, dict(type='LoadDISAnnotations'), *_base_.augment_and_pack]
train_dataloader = dict(
    collate_fn=dict(type='collate_at_random_size', sides=(256, 2304)),
    dataset=dict(pipeline=train_pipeline),
)
