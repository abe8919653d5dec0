"""Names of the released DiffDIS U-Net, and of diffusers' U-Net and VAE, in our models."""

from .published import PublishedNames, prefixed

_MID_TRANSFORMER = {
    'norm1.': 'self_norm.',
    'attn1.': 'self_attention.',
    'norm2_.': 'mutual_attention.norm.',
    'attn3.': 'mutual_attention.attention.',
    'norm2.': 'prompt_norm.',
    'attn2.': 'prompt_attention.',
    'norm3.': 'feed_forward_norm.',
    'ff.': 'feed_forward.',
}

UNET_NAMES = PublishedNames(
    {
        'class_embedding.': 'backbone.bde.projection.',
        'rgb_conv.{}.': 'backbone.swci.injectors.{}.condition.',
        'rgb_proj.{}.': 'backbone.swci.injectors.{}.scale.',
        'rgb_proj1.{}.': 'backbone.swci.injectors.{}.shift.',
        'mid_block.resnets.0.': 'neck.residual_in.',
        'mid_block.resnets.1.': 'neck.residual_out.',
        **prefixed(
            _MID_TRANSFORMER,
            'mid_block.attentions.0.transformer_blocks.0.',
            'neck.transformer.',
        ),
        'mid_block.attentions.0.': 'neck.transformer.',
        '': 'backbone.',
    }
)
VAE_NAMES = PublishedNames({'': 'vae.autoencoder.'})
