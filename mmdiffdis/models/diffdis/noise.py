"""Noise to start from: multi-resolution in training, reproducible at inference."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ...utils.seeding import seed_words


@MODELS.register_module()
class GaussianNoise:
    """Standard normal noise."""

    def __call__(self, like: Tensor) -> Tensor:
        """Returns noise of the shape, dtype and device of `like`."""
        return torch.randn_like(like)


@MODELS.register_module()
class PyramidNoise:
    """Multi-resolution ("pyramid") noise: white noise plus coarser and weaker noise.

    Level i = 0, 1, ... adds bilinearly upsampled normal noise of weight `discount`^i, whose sides
    are those of the level before divided by r^i, r uniform in [2, 4). The sum is divided by its
    standard deviation.

    Source: training noise of Marigold and GeoWizard, which DiffDIS' release follows.

    Args:
        discount: Weight of a level relative to the one before.
        num_levels: Maximum number of levels; they end at a side of one pixel.
    """

    def __init__(self, discount: float = 0.8, num_levels: int = 10):
        self.discount = discount
        self.num_levels = num_levels

    def __call__(self, like: Tensor) -> Tensor:
        """Returns noise [N, C, h, w] of the dtype and device of `like`, standard deviation 1."""
        noise = torch.randn_like(like)
        height, width = size = like.shape[2:]
        for level in range(self.num_levels):
            ratio = float(torch.empty(()).uniform_(2, 4)) ** level
            height, width = max(1, int(height / ratio)), max(1, int(width / ratio))
            coarse = like.new_empty(*like.shape[:2], height, width).normal_()
            noise += self.discount**level * F.interpolate(coarse, size, mode='bilinear')
            if min(height, width) == 1:
                break
        return noise / noise.std()


def per_image_noise(
    names: Sequence[str], shape: Sequence[int], seed: int, device: torch.device | str = 'cpu'
) -> Tensor:
    """Returns standard normal noise [B, C, h, w] float32 that depends on seed and names alone.

    It is drawn on the CPU, image by image, and so independent of batch, worker and device.

    Args:
        names: Stem of each image's file.
        shape: (C, h, w) of one image's noise.
        seed: Any integer.
        device: Device of the result.
    """
    return torch.stack([_noise_of(name, tuple(shape), seed) for name in names]).to(device)


@lru_cache(maxsize=1)  # all frames of a video share one name
def _noise_of(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    # the legacy generator: the only stream that numpy promises never to change
    stream = np.random.RandomState(seed_words(seed, name))
    return torch.from_numpy(stream.standard_normal(shape).astype(np.float32))
