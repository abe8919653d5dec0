# A VAE of 0.7 M parameters with stride 8 and 16 latent channels, as many as in Stable Diffusion 3.
# The 4 channels of Stable Diffusion 2.1 would lose thin structures at 256 px.
vae = dict(
    type='LatentAutoencoder',
    block_out_channels=(8, 16, 32, 64),
    layers_per_block=1,
    latent_channels=16,
    # Few groups: normalising single channels would erase flat regions, most of a mask.
    norm_num_groups=2,
    # 1 / 0.79, the standard deviation of the latents of images, masks and edges.
    scaling_factor=1.26,
)
