# Table 4, row 1: the U-Net from scratch. VAE and prompt, which are never trained, are SD-Turbo's.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(init_cfg=dict(unet=False))
