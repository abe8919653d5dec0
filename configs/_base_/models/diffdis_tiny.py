# DiffDIS for a laptop's CPU: 3.3 M parameters in backbone and neck, 0.7 M in the VAE.
_base_ = ['./diffdis_sd-turbo.py', './vae_tiny.py']

model = dict(
    # No min-max stretch and little CutMix: from scratch, on few images, the model underfits anyway.
    data_preprocessor=dict(min_max=False, cutmix=dict(prob=0.1)),
    vae=dict(
        _delete_=True,
        **_base_.vae,
        init_cfg=dict(type='Pretrained', checkpoint='mmdiffdis://vae_tiny', prefix='vae.'),
    ),
    # From scratch, epsilon prediction is ill-conditioned: its errors reach the clean latent
    # multiplied by 14.6. Without a zero terminal SNR the model would learn to read the ground truth
    # that the noisy latent of the last step still shows.
    scheduler=dict(prediction_type='v_prediction', zero_terminal_snr=True),
    backbone=dict(
        block_out_channels=(64, 80, 80, 80),
        # Attention in the neck alone; at all levels it would take half of a CPU's time.
        num_heads=(None, None, None, 2),
        layers_per_block=1,
        cross_attention_dim=32,
        norm_num_groups=4,
    ),
)
