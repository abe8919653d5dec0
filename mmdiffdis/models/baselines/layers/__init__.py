"""Layers shared by several baselines; importing them registers the backbones that mmseg lacks."""

from .res2net import Res2Net
from .resnet import ResNetV1s

__all__ = ['Res2Net', 'ResNetV1s']
