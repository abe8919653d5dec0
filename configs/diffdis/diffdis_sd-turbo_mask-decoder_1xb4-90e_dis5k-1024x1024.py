# A light decoder with skips of the image, trained with the U-Net by losses of pixels as well.
_base_ = './diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'

model = dict(
    decode_head=dict(_delete_=True, type='MaskDecoder', init_cfg=dict(type='TAESDInit')),
)
