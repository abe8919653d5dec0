"""DiffDIS, one file per idea of the paper, in the order of the data."""

from .autoencoder import LatentAutoencoder, TinyAutoencoder
from .bde import BatchDiscriminativeEmbedding
from .dbia import DBIANeck
from .decode_head import VAEDecodeHead
from .diffusion_segmentor import DiffusionSegmentor
from .latent_unet import LatentUNet
from .mask_decoder import MaskDecoder
from .noise import GaussianNoise, PyramidNoise, per_image_noise
from .scheduler import OneStepScheduler
from .swci import ScaleWiseConditionalInjection
from .unet import SDTurboUNet
from .vae_reconstructor import VAEReconstructor

__all__ = [
    'BatchDiscriminativeEmbedding',
    'DBIANeck',
    'DiffusionSegmentor',
    'GaussianNoise',
    'LatentAutoencoder',
    'LatentUNet',
    'MaskDecoder',
    'OneStepScheduler',
    'PyramidNoise',
    'SDTurboUNet',
    'ScaleWiseConditionalInjection',
    'TinyAutoencoder',
    'VAEDecodeHead',
    'VAEReconstructor',
    'per_image_noise',
]
