# GenPercept with the U-Net (3.3 M parameters) and VAE (0.7 M) of the tiny DiffDIS.
_base_ = './diffdis_tiny.py'

model = dict(
    _delete_=True,
    type='GenPercept',
    data_preprocessor=dict(type='DISDataPreProcessor'),
    vae=_base_.model.vae,
    backbone={**_base_.model.backbone, 'bde': None, 'swci': None},
    neck=dict(type='DBIANeck', interaction=None),
)
