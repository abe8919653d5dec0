# One folder of pictures of your own, <DATA>/{im,gt}/, a fifth of which is held out: neither a video's
# frames nor a burst's pictures are divided. DATA is an environment variable.
_base_ = './dis5k_1024x1024.py'

data_root = '{{$DATA:data/own}}'
# As the test pipeline, with the edges for the validation loss.
val_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=_base_.scale),
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='PackDISInputs'),
]

train_dataloader = dict(
    sampler=dict(type='SeededSampler', endless=True),
    dataset=dict(data_root=data_root, subset='', part='train'),
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, subset='', part='val', pipeline=val_pipeline)
)
test_dataloader = dict(dataset=dict(data_root=data_root, subset='', part='val'))
val_evaluator = dict(protocol='soft')
test_evaluator = dict(protocol='soft')
