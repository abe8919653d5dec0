# MMSegmentation's DeepLabV3+ with its recipe for Cityscapes, on DIS5K.
_base_ = [
    'mmseg::_base_/models/deeplabv3plus_r50-d8.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_sgd-80k.py',
]

norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=_base_.scale[::-1]),
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(num_classes=2, norm_cfg=norm_cfg),
    auxiliary_head=dict(num_classes=2, norm_cfg=norm_cfg),
)
train_dataloader = dict(batch_size=8)
