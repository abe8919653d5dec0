"""The colour of the foreground alone, where it is mixed with what lies behind."""

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np

_RADII = (90, 6)  # of the two passes: far, then near
_TILE = 1024  # rows and columns estimated at once, which bounds the memory whatever the size
_EPSILON = 1e-5


def foreground_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the colours of the foreground, e.g. of a hair without the wall behind it.

    Colours where the mask is 1 stay, and so do those where it is 0.

    Source: Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021: means of foreground and
    background around each pixel, weighted by the mask, corrected such that the two mixed make the
    picture.

    Args:
        image: uint8 [H, W, 3].
        mask: float [H, W] in [0, 1].
    """
    colours = image.copy()
    for (rows, *near_rows), (columns, *near_columns) in product(*map(_spans, mask.shape)):
        mixed = (mask[rows, columns] > 0) & (mask[rows, columns] < 1)
        if mixed.any():
            around, inside = zip(near_rows, near_columns, strict=True)
            alpha = mask[around].astype(np.float32)[..., None]
            estimate = _estimate(image[around].astype(np.float32), alpha)[inside]
            colours[rows, columns][mixed] = np.rint(estimate[mixed]).astype(np.uint8)
    return colours


def _spans(length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Along a side: a tile, what its colours depend on, and where in that the tile lies."""
    margin = sum(_RADII)
    for start in range(0, length, _TILE):
        tile = slice(start, min(start + _TILE, length))
        around = slice(max(tile.start - margin, 0), min(tile.stop + margin, length))
        yield tile, around, slice(tile.start - around.start, tile.stop - around.start)


def _estimate(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    foreground = background = image
    for radius in _RADII:
        near = _weighted_mean(foreground, alpha, radius)
        background = _weighted_mean(background, 1 - alpha, radius)
        unexplained = image - alpha * near - (1 - alpha) * background
        foreground = (near + alpha * unexplained).clip(0, 255)
    return foreground


def _weighted_mean(colours: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """Means over a square around each pixel."""
    size = (2 * radius + 1,) * 2
    total = cv2.blur(weight, size)[..., None]
    return cv2.blur(colours * weight, size) / (total + _EPSILON)
