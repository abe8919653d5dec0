"""Data sets and transforms of dichotomous image segmentation."""

from . import transforms
from .dis5k import DIS5KDataset

__all__ = ['DIS5KDataset', 'transforms']
