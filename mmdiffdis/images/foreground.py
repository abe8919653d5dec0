"""Foreground colour estimation for semi-transparent pixels."""

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np

_RADII = (90, 6)  # of the two passes: far, then near
_TILE = 1024  # rows and columns estimated at once, which bounds the memory
_EPSILON = 1e-5


def foreground_colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the image with the background's colour removed from pixels that show both.

    Colours where the mask is 0 or 1 stay as they are.

    Source: Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021: means of foreground and
    background around each pixel, weighted by the mask, corrected such that their mixture is the
    image.

    Args:
        image: uint8 [H, W, 3].
        mask: Float [H, W] in [0, 1].

    Returns:
        uint8 [H, W, 3].
    """
    colours = image.copy()
    for (rows, *near_rows), (columns, *near_columns) in product(*map(_tiles, mask.shape)):
        mixed = (mask[rows, columns] > 0) & (mask[rows, columns] < 1)
        if mixed.any():
            around, inside = zip(near_rows, near_columns, strict=True)
            alpha = mask[around].astype(np.float32)[..., None]
            estimate = _estimate(image[around].astype(np.float32), alpha)[inside]
            colours[rows, columns][mixed] = np.rint(estimate[mixed]).astype(np.uint8)
    return colours


def _tiles(length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yields each tile along a side, its surroundings, and the tile's place within these."""
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
        residual = image - alpha * near - (1 - alpha) * background
        foreground = (near + alpha * residual).clip(0, 255)
    return foreground


def _weighted_mean(colours: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """Returns the weighted mean over a square around each pixel."""
    size = (2 * radius + 1,) * 2
    total = cv2.blur(weight, size)[..., None]
    return cv2.blur(colours * weight, size) / (total + _EPSILON)
