# The paper's recipe: horizontal flips, Adam, 1e-3, until 20 validations bring no improvement. The
# first stage, isnet_gt-encoder_1xb8_dis5k-1024x1024.py, is trained before.
_base_ = [
    '../_base_/models/isnet.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/iteration_runtime.py',
]

model = dict(
    gt_encoder=dict(
        type='ISNetGTEncoder',
        width=64,
        init_cfg=dict(type='Pretrained', checkpoint='./pretrained/isnet_gt-encoder.pth'),
    )
)

train_pipeline = [
    _base_.load_image,
    dict(type='LoadDISAnnotations'),
    _base_.resize,
    *_base_.flip_and_pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
# `DISEarlyStoppingHook` ends the training.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_000_000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=2000))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='DISEarlyStoppingHook', monitor='maxF', rule='greater', patience=20),
]
