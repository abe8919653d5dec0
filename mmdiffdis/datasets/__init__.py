"""Data sets, samplers and transforms for dichotomous image segmentation."""

from . import transforms
from .collate import collate_at_random_size
from .dis5k import DIS5KDataset
from .latents import LatentDataset
from .sampler import SeededSampler

__all__ = [
    'DIS5KDataset',
    'LatentDataset',
    'SeededSampler',
    'collate_at_random_size',
    'transforms',
]
