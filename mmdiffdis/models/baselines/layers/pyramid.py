"""Steps of an image pyramid (Burt and Adelson 1983), with a Gaussian of 7x7 pixels."""

import math

from torch import Tensor
from torch.nn import functional as F

RADIUS = 3
SIGMA = 1.0


def reduce(x: Tensor) -> Tensor:
    """Returns [B, C, H, W] smoothed, and every second row and column of it."""
    return _smooth(x, step=2)


def expand(x: Tensor) -> Tensor:
    """Returns [B, C, H, W] at twice the size, the smooth part of the next level."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = 4 * x  # of four pixels, three are zero
    return _smooth(spread, step=1)


def _smooth(x: Tensor, step: int) -> Tensor:
    """Returns `x` filtered with the Gaussian, mirrored at the borders, at each `step`th pixel.

    Sums of shifted maps are exact in single precision, where GPUs' convolutions round by default.
    """
    height, width = x.shape[-2:]
    x = F.pad(x, (RADIUS,) * 4, mode='reflect')
    weights = [math.exp(-(d**2) / (2 * SIGMA**2)) for d in range(-RADIUS, RADIUS + 1)]
    weights = [weight / sum(weights) for weight in weights]
    x = sum(w * x[..., i : i + height : step, :] for i, w in enumerate(weights))
    return sum(w * x[..., i : i + width : step] for i, w in enumerate(weights))
