# A VAE of 0.7 M parameters: 8x8 pixels become 16 numbers (as in SD 3, whose VAE has 16 channels).
# Stable Diffusion's 4 would lose what is thin at 256 px.
vae = dict(
    type='LatentAutoencoder',
    block_out_channels=(8, 16, 32, 64),
    layers_per_block=1,
    latent_channels=16,
    # Many channels a group: with one each, normalising would erase what is flat, as most of a mask is.
    norm_num_groups=2,
    # 1 / the standard deviation of the latents of images, masks and edges, 0.79
    scaling_factor=1.26,
)
