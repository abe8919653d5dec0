# A small BEN2 from scratch, on the synthetic set.
_base_ = '../mvanet/mvanet_small_1xb16-1k2_synthetic-dis-128x128.py'

model = dict(type='BEN2', test_cfg=dict(min_max=True))
