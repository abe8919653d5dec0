# DiffDIS for photographs: latents of TAESD, a U-Net of 8 M parameters, a light decoder with skips of
# the image. 11.4 M parameters without TAESD's decoder, which nothing uses.
_base_ = './diffdis_sd-turbo.py'

model = dict(
    data_preprocessor=dict(min_max=False, cutmix=None),
    vae=dict(_delete_=True, type='TinyAutoencoder', init_cfg=dict(type='TAESDInit')),
    # The noise of inference; the zero terminal SNR leaves nothing of the mask in it.
    noise=dict(_delete_=True, type='GaussianNoise'),
    scheduler=dict(prediction_type='v_prediction', zero_terminal_snr=True),
    backbone=dict(
        block_out_channels=(64, 96, 144, 176),
        # Attention at 1/32 and, in the neck, at 1/64 of the image.
        num_heads=(None, None, 4, 4),
        layers_per_block=1,
        cross_attention_dim=32,
        norm_num_groups=16,
    ),
    # Losses of pixels lead; that of latents steers the U-Net from the first step on.
    decode_head=dict(
        _delete_=True,
        type='MaskDecoder',
        # Half of TAESD's width and no block at 1: a twelfth of its operations.
        channels=32,
        num_blocks=(3, 3, 2, 0),
        skip_width=32,
        latent_weight=0.2,
    ),
    # The edge half would double the time of a step; borders are learnt from pixels instead.
    edge=False,
)
