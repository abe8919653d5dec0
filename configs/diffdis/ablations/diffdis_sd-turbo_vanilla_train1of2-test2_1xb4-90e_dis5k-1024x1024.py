# Table 4, row 3: training denoises in one step from one of two timesteps, drawn per image; the test
# takes both steps.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(train_cfg=dict(timesteps=[999, 499]), test_cfg=dict(num_steps=2))
