"""Steps of an image pyramid (Burt and Adelson 1983)."""

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

# kernels, one axis of a separable one each: a Gaussian of 7x7 pixels, sigma 1; a binomial of 5x5
GAUSSIAN = tuple(math.exp(-(d**2) / 2) for d in range(-3, 4))
BINOMIAL = (1, 4, 6, 4, 1)


def reduce(x: Tensor, kernel: Sequence[float] = GAUSSIAN) -> Tensor:
    """Returns [B, C, H, W] smoothed, and every second row and column of it."""
    return _smooth(x, kernel, step=2)


def expand(x: Tensor, kernel: Sequence[float] = GAUSSIAN) -> Tensor:
    """Returns [B, C, H, W] at twice the size, the smooth part of the next level."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = 4 * x  # of four pixels, three are zero
    return _smooth(spread, kernel, step=1)


def _smooth(x: Tensor, kernel: Sequence[float], step: int) -> Tensor:
    """Returns `x` filtered with a kernel, mirrored at the borders, at each `step`th pixel.

    Sums of shifted maps are exact in single precision, where GPUs' convolutions round by default.
    """
    height, width = x.shape[-2:]
    x = F.pad(x, (len(kernel) // 2,) * 4, mode='reflect')
    weights = [weight / sum(kernel) for weight in kernel]
    x = sum(w * x[..., i : i + height : step, :] for i, w in enumerate(weights))
    return sum(w * x[..., i : i + width : step] for i, w in enumerate(weights))
