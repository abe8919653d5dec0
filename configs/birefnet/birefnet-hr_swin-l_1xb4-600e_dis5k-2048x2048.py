# The release's BiRefNet_HR in size; its weights learnt from more than DIS5K.
_base_ = './birefnet_swin-l_1xb4-600e_dis5k-1024x1024.py'

scale = (2048, 2048)
train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations', dtype='uint8'),
    dict(type='DISResize', scale=scale, backend='cv2'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomRotate', prob=0.2, degree=15),
    dict(type='DISColorJitter'),
    dict(type='RandomPepper'),
    dict(type='PackDISInputs'),
]
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=scale, backend='cv2'),
    dict(type='LoadDISAnnotations'),
    dict(type='PackDISInputs'),
]
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='DISResize',
                    scale=(int(scale[0] * ratio), int(scale[1] * ratio)),
                    backend='cv2',
                )
                for ratio in (0.75, 1.0, 1.25)
            ],
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
