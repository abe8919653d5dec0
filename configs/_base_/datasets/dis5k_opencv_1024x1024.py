# DIS5K resized by OpenCV's bilinear, which does not smooth what it shrinks: what the released IS-Net and
# BiRefNet learnt from and are tested on.
_base_ = './dis5k_1024x1024.py'

test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=_base_.scale, backend='cv2'),
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
                    scale=tuple(int(side * ratio) for side in _base_.scale),
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

val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
