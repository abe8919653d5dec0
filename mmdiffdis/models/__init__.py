"""DiffDIS and what it is made of, one file per idea of the paper; and its baselines."""

from . import baselines
from .autoencoder import LatentAutoencoder
from .bde import BatchDiscriminativeEmbedding
from .data_preprocessor import DISDataPreProcessor
from .dbia import DBIANeck
from .diffusion_segmentor import DiffusionSegmentor
from .dis_baseline import DISBaseline
from .noise import GaussianNoise, PyramidNoise, per_image_noise
from .scheduler import OneStepScheduler
from .sd_turbo_unet import SDTurboUNet
from .swci import ScaleWiseConditionalInjection
from .tta import DISTTAModel
from .vae_decode_head import VAEDecodeHead
from .vae_reconstructor import VAEReconstructor

__all__ = [
    'BatchDiscriminativeEmbedding',
    'DBIANeck',
    'DISBaseline',
    'DISDataPreProcessor',
    'DISTTAModel',
    'DiffusionSegmentor',
    'GaussianNoise',
    'LatentAutoencoder',
    'OneStepScheduler',
    'PyramidNoise',
    'SDTurboUNet',
    'ScaleWiseConditionalInjection',
    'VAEDecodeHead',
    'VAEReconstructor',
    'baselines',
    'per_image_noise',
]
