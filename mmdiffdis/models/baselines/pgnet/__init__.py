"""PGNet: Xie et al., Pyramid Grafting Network for One-Stage High Resolution Saliency Detection,
CVPR 2022.
"""

from .schedule import PGNetLR
from .segmentor import PGNet

__all__ = ['PGNet', 'PGNetLR']
