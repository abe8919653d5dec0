# Table 4, row 4: two steps, from 999 and 499, in training and at test.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(train_cfg=dict(num_steps=2), test_cfg=dict(num_steps=2))
