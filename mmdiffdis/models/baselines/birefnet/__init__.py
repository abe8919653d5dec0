"""BiRefNet: bilateral references for high-resolution dichotomous image segmentation.

Zheng et al., CAAI Artificial Intelligence Research 2024, https://arxiv.org/abs/2401.03407.
"""

from .hooks import RegionFinetuneHook
from .segmentor import BiRefNet

__all__ = ['BiRefNet', 'RegionFinetuneHook']
