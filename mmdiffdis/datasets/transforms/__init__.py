"""Transforms that keep masks and edges soft; they combine with mmseg's own."""

from .formatting import PackDISInputs
from .geometric import (
    DISRandomCenterCrop,
    DISRandomCrop,
    DISRandomRotate,
    DISRandomZoom,
    DISResize,
    DISShrink,
)
from .loading import GenerateDISEdge, LoadDISAnnotations, LoadDISImage
from .photometric import DISColorJitter, RandomPepper

__all__ = [
    'DISColorJitter',
    'DISRandomCenterCrop',
    'DISRandomCrop',
    'DISRandomRotate',
    'DISRandomZoom',
    'DISResize',
    'DISShrink',
    'GenerateDISEdge',
    'LoadDISAnnotations',
    'LoadDISImage',
    'PackDISInputs',
    'RandomPepper',
]
