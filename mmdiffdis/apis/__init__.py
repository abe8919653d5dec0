"""Prediction from Python."""

from .inference import DISInferencer, DISResult

__all__ = ['DISInferencer', 'DISResult']
