"""InSPyReNet: saliency as an image pyramid, from coarse to fine.

Kim et al., Revisiting Image Pyramid Structure for High Resolution Salient Object Detection,
ACCV 2022, https://arxiv.org/abs/2209.09475.
"""

from .segmentor import InSPyReNet

__all__ = ['InSPyReNet']
