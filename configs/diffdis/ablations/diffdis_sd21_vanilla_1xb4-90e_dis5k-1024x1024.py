# Table 4, row 5: initialised from Stable Diffusion 2.1. The folder's scheduler says what the U-Net
# predicts: v for SD 2.1 (768 px), epsilon for SD 2.1-base.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(init_cfg=dict(pretrained='./pretrained/stable-diffusion-2-1'))
