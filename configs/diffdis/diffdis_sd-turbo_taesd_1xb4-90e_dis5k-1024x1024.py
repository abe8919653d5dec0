# Images encoded and masks decoded by TAESD: a third of the operations of a mask. It changes the mask.
_base_ = './diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'

model = dict(
    vae=dict(_delete_=True, type='TinyAutoencoder', init_cfg=dict(type='TAESDInit')),
)
