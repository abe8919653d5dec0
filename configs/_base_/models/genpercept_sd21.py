# GenPercept at full size: the U-Net (865.9 M parameters) and VAE (83.7 M) of Stable Diffusion 2.1,
# which are DiffDIS' without its additions.
_base_ = './diffdis_sd-turbo.py'

model = dict(
    _delete_=True,
    type='GenPercept',
    data_preprocessor=dict(type='DISDataPreProcessor'),
    vae=_base_.model.vae,
    backbone={**_base_.model.backbone, 'bde': None, 'swci': None},
    neck=dict(type='DBIANeck', interaction=None),
)
