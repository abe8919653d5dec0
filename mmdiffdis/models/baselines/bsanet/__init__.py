"""BSA-Net: Zhu et al., I Can Find You! Boundary-Guided Separated Attention Network for Camouflaged
Object Detection, AAAI 2022.
"""

from .segmentor import BSANet

__all__ = ['BSANet']
