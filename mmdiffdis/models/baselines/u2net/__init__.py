"""U2-Net: Qin et al., U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection,
Pattern Recognition 2020.
"""

from .data_preprocessor import U2NetDataPreProcessor
from .segmentor import U2Net

__all__ = ['U2Net', 'U2NetDataPreProcessor']
