"""Data sets and transforms of dichotomous image segmentation."""

from . import transforms
from .dis5k import DIS5KDataset
from .latents import LatentDataset

__all__ = ['DIS5KDataset', 'LatentDataset', 'transforms']
