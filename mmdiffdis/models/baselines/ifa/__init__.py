"""IFA: Hu et al., Learning Implicit Feature Alignment Function for Semantic Segmentation, ECCV
2022.
"""

from .segmentor import IFA

__all__ = ['IFA']
