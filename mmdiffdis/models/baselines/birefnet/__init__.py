"""BiRefNet: bilateral references for high-resolution dichotomous image segmentation.

Zheng et al., CAAI Artificial Intelligence Research 2024, https://arxiv.org/abs/2401.03407.
"""

from ..layers.deformable_conv import ModulatedDeformConv2d
from .data import RandomPepper, collate_at_random_size
from .loss import BiRefNetLoss, RegionFinetuneHook
from .network import BiRefNetwork
from .segmentor import BiRefNet

__all__ = [
    'BiRefNet',
    'BiRefNetLoss',
    'BiRefNetwork',
    'ModulatedDeformConv2d',
    'RandomPepper',
    'RegionFinetuneHook',
    'collate_at_random_size',
]
