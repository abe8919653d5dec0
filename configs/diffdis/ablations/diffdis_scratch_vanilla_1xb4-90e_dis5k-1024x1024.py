# Table 4, row 1: the U-Net from scratch. The VAE, which is never trained, keeps SD's weights.
_base_ = './diffdis_sd-turbo_vanilla_1xb4-90e_dis5k-1024x1024.py'

model = dict(
    init_cfg=None,
    vae=dict(
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/diffdis.safetensors', prefix='vae.')
    ),
)
