"""The weighted F-measure (Margolin et al., CVPR 2014) of a soft mask."""

from itertools import product

import cv2
import numpy as np

_EPSILON = np.finfo(np.float64).eps
_KERNEL_RADIUS = 3
_SIGMA = 5
_kernel = np.exp(-(np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1) ** 2) / (2 * _SIGMA**2))
_KERNEL = _kernel / _kernel.sum()
# An error counts once in the object and twice far from it; half-way at this distance, in pixels.
_HALF_WAY = 5
# The weight by squared distance. At the last one it is 2 in float64.
_LAST = (54 * _HALF_WAY) ** 2
_IMPORTANCE = 2 - 0.5 ** (np.sqrt(np.arange(_LAST + 1)) / _HALF_WAY)

# The steps (down, right) to the pixels within the kernel's reach, by squared distance. Where
# several are foreground, the nearest one is the leftmost and then the uppermost, as in scipy's
# distance transform, which PySODMetrics uses: the choice changes which error is spread.
_REACH = 2 * _KERNEL_RADIUS**2
_STEPS: dict[int, list[tuple[int, int]]] = {}
_margin = range(-int(_REACH**0.5), int(_REACH**0.5) + 1)
for _right, _down in product(_margin, _margin):
    if 0 < _right**2 + _down**2 <= _REACH:
        _STEPS.setdefault(_right**2 + _down**2, []).append((_down, _right))


def absolute_error(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 [H, W]: distance of each pixel from the truth, 0 or 1.

    Args:
        prediction: float64 [H, W] in [0, 1].
        truth: bool [H, W].
    """
    error = prediction.copy()
    return np.subtract(1, error, out=error, where=truth)


def weighted_f_measure(prediction: np.ndarray, truth: np.ndarray, beta_squared: float = 1) -> float:
    """Weighted F-measure of one image; 0 if the truth has no foreground.

    Args:
        prediction: float64 [H, W] in [0, 1].
        truth: bool [H, W].
        beta_squared: weight of recall.
    """
    prediction, truth = _crop(prediction, truth)
    foreground = np.count_nonzero(truth)
    if foreground == 0:
        return 0.0
    error = absolute_error(prediction, truth)
    squared_distance = _squared_distance_to(truth)
    # dependency: a wrong pixel inside the object whose neighbours are right is less of an error
    spread = cv2.sepFilter2D(
        _spread_error(error, truth, squared_distance),
        -1,
        _KERNEL,
        _KERNEL,
        borderType=cv2.BORDER_CONSTANT,
    )
    np.minimum(error, spread, out=error, where=truth)
    error *= np.take(_IMPORTANCE, squared_distance, mode='clip')
    missed = error[truth].sum()
    invented = error.sum() - missed
    weighted_recall = 1 - missed / foreground
    weighted_precision = (foreground - missed) / (foreground - missed + invented + _EPSILON)
    return float(
        (1 + beta_squared)
        * weighted_recall
        * weighted_precision
        / (weighted_recall + beta_squared * weighted_precision + _EPSILON)
    )


def _crop(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What can count: where there is foreground in either, and the kernel's reach around it."""
    left, top, width, height = cv2.boundingRect(((prediction > 0) | truth).view(np.uint8))
    rows = slice(max(0, top - _KERNEL_RADIUS), top + height + _KERNEL_RADIUS)
    columns = slice(max(0, left - _KERNEL_RADIUS), left + width + _KERNEL_RADIUS)
    return prediction[rows, columns], truth[rows, columns]


def _squared_distance_to(truth: np.ndarray) -> np.ndarray:
    """int32 [H, W]: squared distance to the nearest foreground pixel; exact up to 4096 pixels."""
    height, width = truth.shape
    # OpenCV walks down columns, which is several times slower if rows are a power of two apart.
    background = np.ones((height, width + 8 if width % 64 == 0 else width), np.uint8)
    np.logical_not(truth, out=background[:, :width].view(bool))
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[:, :width]
    return np.rint(distance * distance).astype(np.int32)


def _spread_error(error: np.ndarray, truth: np.ndarray, squared_distance: np.ndarray) -> np.ndarray:
    """The error, but around the object each background pixel has that of the nearest foreground."""
    height, width = truth.shape
    spread = error.copy()
    flat_spread, flat_truth, flat_error = spread.ravel(), np.ravel(truth), error.ravel()
    around = np.flatnonzero((squared_distance > 0) & (squared_distance <= _REACH))
    around_squared = squared_distance.ravel()[around]
    for squared, steps in _STEPS.items():
        remaining = around[around_squared == squared]
        for down, right in steps:
            rows, columns = np.divmod(remaining, width)
            rows, columns = rows + down, columns + right
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            nearest = remaining + (down * width + right)
            hit = inside & flat_truth[np.where(inside, nearest, 0)]
            flat_spread[remaining[hit]] = flat_error[nearest[hit]]
            remaining = remaining[~hit]
    return spread
