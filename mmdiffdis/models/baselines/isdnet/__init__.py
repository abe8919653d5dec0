"""ISDNet: Guo et al., Integrating Shallow and Deep Networks for Efficient Ultra-High Resolution
Segmentation, CVPR 2022.
"""

from .segmentor import ISDNet

__all__ = ['ISDNet']
