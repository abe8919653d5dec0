# MMSegmentation's SegFormer with its recipe for Cityscapes, on DIS5K. Other initial weights:
#   --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    'mmseg::_base_/models/segformer_mit-b0.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_sgd-80k.py',
]

model = dict(
    data_preprocessor=dict(size=_base_.scale[::-1]),
    backbone=dict(
        embed_dims=64,
        num_layers=[3, 4, 6, 3],
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b2_20220624-66e8bf70.pth',
        ),
    ),
    decode_head=dict(
        in_channels=[64, 128, 320, 512],
        num_classes=2,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
)
train_dataloader = dict(batch_size=8)

max_iters = 160_000
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'pos_block': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            'head': dict(lr_mult=10.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=max_iters, by_epoch=False),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
default_hooks = dict(checkpoint=dict(interval=max_iters // 10))
