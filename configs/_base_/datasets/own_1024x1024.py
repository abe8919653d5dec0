# A folder of your own images, <DATA>/{im,gt}/ (DATA is an environment variable). A fifth of it is
# held out; frames of one video, or images of one burst, are kept together.
_base_ = './dis5k_1024x1024.py'

data_root = '{{$DATA:data/own}}'
# The test pipeline, with edges for the validation loss.
load_gt_edge_and_pack = [
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='PackDISInputs'),
]
val_pipeline = [_base_.load_image, _base_.resize, *load_gt_edge_and_pack]

train_dataloader = dict(dataset=dict(data_root=data_root, subset='', part='train'))
val_dataloader = dict(
    dataset=dict(data_root=data_root, subset='', part='val', pipeline=val_pipeline)
)
test_dataloader = dict(dataset=dict(data_root=data_root, subset='', part='val'))
val_evaluator = dict(protocol='soft')
test_evaluator = dict(protocol='soft')
