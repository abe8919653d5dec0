"""The noise that a mask starts from: multi-resolution in training, reproducible at inference."""

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
        """Noise of the shape, dtype and device of `like`."""
        return torch.randn_like(like)


@MODELS.register_module()
class PyramidNoise:
    """Multi-resolution ("pyramid") noise: white noise plus ever coarser, ever fainter noise.

    To white noise, level i = 0, 1, ... adds bilinearly upsampled normal noise, its sides those of
    the level before divided by r^i, r uniform in [2, 4), its weight `discount`^i. The result is
    divided by its standard deviation.

    Source: the training noise of Marigold and GeoWizard, which DiffDIS' release follows.

    Args:
        discount: weight of a level relative to the one before.
        num_levels: the most levels; they end early at a side of one pixel.
    """

    def __init__(self, discount: float = 0.8, num_levels: int = 10):
        self.discount = discount
        self.num_levels = num_levels

    def __call__(self, like: Tensor) -> Tensor:
        """Noise of the shape, dtype and device of `like`, [N, C, h, w], standard deviation 1."""
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
    """Standard normal noise that depends on the seed and each image's name alone.

    Drawn on the CPU, an image at a time: the same whatever the batch, the worker or the device.

    Args:
        names: one name per image, its file's stem.
        shape: (C, h, w) of one image's noise.
        seed: any integer.
        device: where the result goes.

    Returns:
        [len(names), C, h, w] float32.
    """
    return torch.stack([_noise_of(name, tuple(shape), seed) for name in names]).to(device)


@lru_cache(maxsize=1)  # all frames of a video have one name
def _noise_of(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    # The legacy generator: the one stream that numpy (and torch) promise never to change.
    stream = np.random.RandomState(seed_words(seed, name))
    return torch.from_numpy(stream.standard_normal(shape).astype(np.float32))
