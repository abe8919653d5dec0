# Table 1: ground-truth masks reconstructed by Stable Diffusion's VAE; nothing is trained.
_base_ = '../diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'

model = dict(
    _delete_=True,
    type='VAEReconstructor',
    data_preprocessor=dict(type='DISDataPreProcessor'),
    vae=_base_.model.vae,
    size=_base_.scale[::-1],
)
