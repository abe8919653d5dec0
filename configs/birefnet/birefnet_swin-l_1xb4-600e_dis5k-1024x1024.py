# As released for DIS5K: AdamW, 1e-4 * sqrt(batch size / 4), constant, 600 epochs.
_base_ = [
    '../_base_/models/birefnet.py',
    '../_base_/datasets/dis5k_opencv_1024x1024.py',
    '../_base_/default_runtime.py',
]

train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations', dtype='uint8'),
    dict(type='DISResize', scale=_base_.scale, backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='RandomPepper'),
    dict(type='PackDISInputs'),
]
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=train_pipeline))
# Its passes are probabilities; only the released DiffDIS test stretches them.
tta_model = dict(min_max=False)

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.01))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
custom_hooks = [*_base_.custom_hooks, dict(type='RegionFinetuneHook', epochs=40)]
