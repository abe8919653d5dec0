# Table 4, row 5: initialised from SD 2.1. What the U-Net predicts is read from the folder's
# scheduler: v for SD 2.1 (768 px), epsilon for SD 2.1-base.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(init_cfg=dict(pretrained='./pretrained/stable-diffusion-2-1'))
