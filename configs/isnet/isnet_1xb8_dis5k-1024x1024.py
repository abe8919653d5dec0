# The paper's recipe: flips alone, Adam of 1e-3, until 20 validations bring nothing new. The first
# stage, isnet_gt-encoder_1xb8_dis5k-1024x1024.py, has to be trained before.
_base_ = [
    '../_base_/models/isnet.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

model = dict(
    gt_encoder=dict(
        type='ISNetGTEncoder',
        width=64,
        init_cfg=dict(type='Pretrained', checkpoint='./pretrained/isnet_gt-encoder.pth'),
    )
)

train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations'),
    dict(type='DISResize', scale=_base_.scale, backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(
    batch_size=8,
    sampler=dict(type='SeededSampler', endless=True),
    dataset=dict(pipeline=train_pipeline),
)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
# No end is set: `EarlyStoppingHook` finds it.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_000_000, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=2000)
)
custom_hooks = [
    dict(type='DISPanelHook'),
    dict(type='EarlyStoppingHook', monitor='maxF', rule='greater', patience=20),
]
