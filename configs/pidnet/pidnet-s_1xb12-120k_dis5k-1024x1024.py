# MMSegmentation's PIDNet-S with its recipe for Cityscapes, on DIS5K. Other initial weights:
#   --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    '../_base_/models/pidnet-s.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_sgd-80k.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/pidnet/pidnet-s_imagenet1k_20230306-715e6273.pth',
        )
    )
)
train_pipeline = [
    _base_.load_image,
    dict(type='LoadDISAnnotations'),
    dict(type='DISRandomCenterCrop', max_border=30),
    dict(type='DISColorJitter'),
    _base_.resize,
    dict(type='GenerateDISEdge'),  # after the resize, so that edges stay 0 or 1
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=12, dataset=dict(pipeline=train_pipeline))

max_iters = 120_000
param_scheduler = dict(eta_min=0.0, end=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
default_hooks = dict(checkpoint=dict(interval=max_iters // 10))
