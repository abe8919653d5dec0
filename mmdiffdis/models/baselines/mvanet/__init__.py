"""MVANet: multi-view aggregation network.

Yu et al., Multi-view Aggregation Network for Dichotomous Image Segmentation, CVPR 2024.
"""

from .segmentor import MVANet

__all__ = ['MVANet']
