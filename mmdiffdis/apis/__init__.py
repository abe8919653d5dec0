"""Prediction from Python."""

from .inference import DISInferencer
from .inputs import find_pictures, name_results
from .results import DISResult

__all__ = ['DISInferencer', 'DISResult', 'find_pictures', 'name_results']
