"""Prediction from Python."""

from .inference import DISInferencer, DISResult
from .inputs import find_pictures, name_results

__all__ = ['DISInferencer', 'DISResult', 'find_pictures', 'name_results']
