"""DiffDIS and its baselines."""

from . import baselines
from .baselines.base import DISBaseline
from .data_preprocessor import DISDataPreProcessor
from .diffdis import (
    BatchDiscriminativeEmbedding,
    DBIANeck,
    DiffusionSegmentor,
    GaussianNoise,
    LatentAutoencoder,
    OneStepScheduler,
    PyramidNoise,
    ScaleWiseConditionalInjection,
    SDTurboUNet,
    VAEDecodeHead,
    VAEReconstructor,
    per_image_noise,
)
from .tta import DISTTAModel

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
