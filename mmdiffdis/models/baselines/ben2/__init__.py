"""BEN2: background erase network, an MVANet with other layers.

Meyer and Spruyt, BEN: Using Confidence-Guided Matting for Dichotomous Image Segmentation, 2025,
https://arxiv.org/abs/2501.06230.
"""

from .segmentor import BEN2

__all__ = ['BEN2']
