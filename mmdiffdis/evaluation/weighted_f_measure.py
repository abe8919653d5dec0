"""Weighted F-measure of a soft mask (Margolin et al., CVPR 2014)."""

from itertools import product

import cv2
import numpy as np

_EPSILON = np.finfo(np.float64).eps
_KERNEL_RADIUS = 3
_KERNEL_SIGMA = 5
# An error has weight 1 in the object and 2 far from it; 1.5 at this distance, in pixels.
_HALF_WAY = 5
# Weight by squared distance. At the last one it is 2 in float64.
_LAST = (54 * _HALF_WAY) ** 2
_IMPORTANCE = 2 - 0.5 ** (np.sqrt(np.arange(_LAST + 1)) / _HALF_WAY)
# Largest squared distance that the kernel reaches: its corner.
_REACH = 2 * _KERNEL_RADIUS**2


def _gaussian_kernel() -> np.ndarray:
    """Returns a normalised Gaussian, float64 [7]."""
    offsets = np.arange(-_KERNEL_RADIUS, _KERNEL_RADIUS + 1)
    kernel = np.exp(-(offsets**2) / (2 * _KERNEL_SIGMA**2))
    return kernel / kernel.sum()


def _steps_by_squared_distance() -> dict[int, list[tuple[int, int]]]:
    """Returns the steps (down, right) to the pixels within `_REACH`, by squared distance.

    If several foreground pixels are equally near, the leftmost and then the uppermost one is taken,
    as in scipy's distance transform, which PySODMetrics uses: the choice decides which error is
    spread.
    """
    steps: dict[int, list[tuple[int, int]]] = {}
    offsets = range(-int(_REACH**0.5), int(_REACH**0.5) + 1)
    for right, down in product(offsets, offsets):
        if 0 < right**2 + down**2 <= _REACH:
            steps.setdefault(right**2 + down**2, []).append((down, right))
    return steps


_KERNEL = _gaussian_kernel()
_STEPS = _steps_by_squared_distance()


def absolute_error(prediction: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Returns the absolute difference of prediction and ground truth, float64 [H, W].

    Args:
        prediction: float64 [H, W] in [0, 1].
        gt: bool [H, W].

    Example:
        >>> absolute_error(np.array([[0.75, 0.25]]), np.array([[True, False]]))
        array([[0.25, 0.25]])
    """
    error = prediction.copy()
    return np.subtract(1, error, out=error, where=gt)


def weighted_f_measure(prediction: np.ndarray, gt: np.ndarray, beta_squared: float = 1) -> float:
    """Returns the weighted F-measure of one image; 0 if the ground truth has no foreground.

    Args:
        prediction: float64 [H, W] in [0, 1].
        gt: bool [H, W].
        beta_squared: Weight of recall.

    Example:
        >>> gt = np.zeros((9, 9), bool)
        >>> gt[3:6, 3:6] = True
        >>> round(weighted_f_measure(0.5 * gt, gt), 4)  # precision 1, recall 1/2
        0.6667
    """
    prediction, gt = _crop(prediction, gt)
    foreground = np.count_nonzero(gt)
    if foreground == 0:
        return 0.0
    error = absolute_error(prediction, gt)
    squared_distance = _squared_distance_to(gt)
    # dependency: an error inside the object counts less if its neighbours are correct
    spread = cv2.sepFilter2D(
        _spread_error(error, gt, squared_distance),
        -1,
        _KERNEL,
        _KERNEL,
        borderType=cv2.BORDER_CONSTANT,
    )
    np.minimum(error, spread, out=error, where=gt)
    error *= np.take(_IMPORTANCE, squared_distance, mode='clip')
    missed = error[gt].sum()
    false_positives = error.sum() - missed
    weighted_recall = 1 - missed / foreground
    weighted_precision = (foreground - missed) / (foreground - missed + false_positives + _EPSILON)
    return float(
        (1 + beta_squared)
        * weighted_recall
        * weighted_precision
        / (weighted_recall + beta_squared * weighted_precision + _EPSILON)
    )


def _crop(prediction: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both, cropped to the foreground of either and the kernel's radius around it."""
    left, top, width, height = cv2.boundingRect(((prediction > 0) | gt).view(np.uint8))
    rows = slice(max(0, top - _KERNEL_RADIUS), top + height + _KERNEL_RADIUS)
    columns = slice(max(0, left - _KERNEL_RADIUS), left + width + _KERNEL_RADIUS)
    return prediction[rows, columns], gt[rows, columns]


def _squared_distance_to(gt: np.ndarray) -> np.ndarray:
    """Returns int32 [H, W]: squared distance to the nearest foreground; exact up to 4096 pixels."""
    height, width = gt.shape
    # OpenCV walks down columns, which is several times slower if rows are a power of two apart
    background = np.ones((height, width + 8 if width % 64 == 0 else width), np.uint8)
    np.logical_not(gt, out=background[:, :width].view(bool))
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[:, :width]
    return np.rint(distance * distance).astype(np.int32)


def _spread_error(error: np.ndarray, gt: np.ndarray, squared_distance: np.ndarray) -> np.ndarray:
    """Returns the error; background near the object has the error of the nearest foreground."""
    height, width = gt.shape
    spread = error.copy()
    flat_spread, flat_gt, flat_error = spread.ravel(), np.ravel(gt), error.ravel()
    around = np.flatnonzero((squared_distance > 0) & (squared_distance <= _REACH))
    around_squared = squared_distance.ravel()[around]
    for squared, steps in _STEPS.items():
        remaining = around[around_squared == squared]
        for down, right in steps:
            rows, columns = np.divmod(remaining, width)
            rows, columns = rows + down, columns + right
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            nearest = remaining + (down * width + right)
            hit = inside & flat_gt[np.where(inside, nearest, 0)]
            flat_spread[remaining[hit]] = flat_error[nearest[hit]]
            remaining = remaining[~hit]
    return spread
