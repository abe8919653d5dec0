# The same with a small Res2Net.
_base_ = './inspyrenet_small_1xb16-1k2_synthetic-dis-128x128.py'

model = dict(backbone=dict(**_base_.res2net_small, _delete_=True))
