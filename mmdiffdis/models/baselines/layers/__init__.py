"""Layers shared by several baselines; importing them registers the backbone that mmseg lacks."""

from .res2net import Res2Net

__all__ = ['Res2Net']
