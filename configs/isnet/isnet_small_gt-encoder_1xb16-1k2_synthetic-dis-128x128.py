# First stage of isnet_small_feature-supervision_1xb16-1k2_synthetic-dis-128x128.py.
_base_ = './isnet_small_1xb16-1k2_synthetic-dis-128x128.py'

model = dict(
    _delete_=True,
    type='ISNetGTEncoder',
    data_preprocessor=_base_.data_preprocessor,
    width=8,
)
