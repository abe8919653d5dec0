"""A synthetic set for dichotomous image segmentation.

strokes (geometry, rasteriser) -> shapes_thin, shapes_solid, shapes_living (objects) -> scene, photo
(one image and its mask) -> writer (a set on disk in DIS5K's layout).
"""

from .scene import KINDS, SPLITS, Sample, draw_sample
from .writer import write_dataset

__all__ = ['KINDS', 'SPLITS', 'Sample', 'draw_sample', 'write_dataset']
