# Table 4, row 6: training denoises in one step from any timestep, drawn per image; the test takes
# ten steps.
_base_ = './diffdis_sd21_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(train_cfg=dict(timesteps='uniform'), test_cfg=dict(num_steps=10))
