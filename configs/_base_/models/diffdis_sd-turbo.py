# DiffDIS at full size: SD-Turbo's U-Net (the architecture of Stable Diffusion 2.1) and VAE. 912.9 M
# parameters in backbone and neck, 83.7 M in the VAE.
model = dict(
    type='DiffusionSegmentor',
    data_preprocessor=dict(type='DISDataPreProcessor', min_max=True, cutmix=dict(prob=0.5)),
    vae=dict(
        type='LatentAutoencoder',
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.18215,
    ),
    noise=dict(type='PyramidNoise'),
    scheduler=dict(type='OneStepScheduler', prediction_type='epsilon'),
    backbone=dict(
        type='SDTurboUNet',
        block_out_channels=(320, 640, 1280, 1280),
        num_heads=(5, 10, 20, 20),
        layers_per_block=2,
        cross_attention_dim=1024,
        bde=dict(type='BatchDiscriminativeEmbedding'),
        swci=dict(type='ScaleWiseConditionalInjection'),
    ),
    neck=dict(type='DBIANeck', interaction='mutual'),
    decode_head=dict(type='VAEDecodeHead'),
    edge=True,
    train_cfg=dict(timesteps=None, num_steps=1),
    test_cfg=dict(seed=0, num_steps=1, edge=False, min_max=False),
)
