"""GenPercept: Stable Diffusion's U-Net and VAE as a one-step network from image to mask.

Xu et al., What Matters When Repurposing Diffusion Models for General Dense Perception Tasks?,
ICLR 2025, https://arxiv.org/abs/2403.06090.
"""

from .segmentor import GenPercept

__all__ = ['GenPercept']
