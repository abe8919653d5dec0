"""The colour of the foreground alone, where it is mixed with what lies behind."""

import cv2
import numpy as np

_RADII = (90, 6)  # of the two passes: far, then near
_STRIP = 1024  # rows estimated at once, which bounds the memory whatever the picture's size
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
    height = len(image)
    margin = sum(_RADII)  # how far a pixel's colour depends on others
    colours = image.copy()
    for top in range(0, height, _STRIP):
        rows = slice(top, min(top + _STRIP, height))
        context = slice(max(top - margin, 0), min(rows.stop + margin, height))
        alpha = mask[context].astype(np.float32)
        inside = slice(rows.start - context.start, rows.stop - context.start)
        mixed = (alpha[inside] > 0) & (alpha[inside] < 1)
        if mixed.any():
            estimate = _estimate(image[context].astype(np.float32), alpha[..., None])[inside]
            colours[rows][mixed] = np.rint(estimate[mixed]).astype(np.uint8)
    return colours


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
