"""FP-DIS: Zhou et al., Dichotomous Image Segmentation with Frequency Priors, IJCAI 2023.

No code of it was published. configs/fpdis/README.md says what is the paper's and what is not.
"""

from .segmentor import FPDIS

__all__ = ['FPDIS']
