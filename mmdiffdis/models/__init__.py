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
    MaskDecoder,
    OneStepScheduler,
    PyramidNoise,
    ScaleWiseConditionalInjection,
    SDTurboUNet,
    TinyAutoencoder,
    VAEDecodeHead,
    VAEReconstructor,
    per_image_noise,
)
from .onnx_segmentor import OnnxDiffusionSegmentor, OnnxSegmentor
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
    'MaskDecoder',
    'OneStepScheduler',
    'OnnxDiffusionSegmentor',
    'OnnxSegmentor',
    'PyramidNoise',
    'SDTurboUNet',
    'ScaleWiseConditionalInjection',
    'TinyAutoencoder',
    'VAEDecodeHead',
    'VAEReconstructor',
    'baselines',
    'per_image_noise',
]
