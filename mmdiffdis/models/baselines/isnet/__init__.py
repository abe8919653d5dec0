"""IS-Net: Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022."""

from .segmentor import ISNet, ISNetGTEncoder

__all__ = ['ISNet', 'ISNetGTEncoder']
