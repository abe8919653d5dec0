"""UDUN: Unite-Divide-Unite network.

Pei et al., Unite-Divide-Unite: Joint Boosting Trunk and Structure for High-accuracy Dichotomous
Image Segmentation, ACM MM 2023.
"""

from .segmentor import UDUN

__all__ = ['UDUN']
