"""The S-measure (Fan et al., ICCV 2017): structure by object and by region, of a soft mask."""

from typing import NamedTuple

import cv2
import numpy as np

_EPSILON = np.finfo(np.float64).eps


class _Moments(NamedTuple):
    """Of some of a prediction's pixels: their number, mean, and sum of squared deviations."""

    count: int
    mean: float
    spread: float

    def __add__(self, other: '_Moments') -> '_Moments':
        count = self.count + other.count
        if count == 0:
            return self
        step, share = other.mean - self.mean, other.count / count
        spread = self.spread + other.spread + step**2 * self.count * share
        return _Moments(count, self.mean + step * share, spread)


def s_measure(prediction: np.ndarray, truth: np.ndarray, alpha: float = 0.5) -> float:
    """S-measure of one image.

    Args:
        prediction: float64 [H, W] in [0, 1].
        truth: bool [H, W].
        alpha: weight of the object part; the region part has the rest.
    """
    rows = np.count_nonzero(truth, axis=1)
    foreground = int(rows.sum())
    if foreground in (0, truth.size):
        mean = float(prediction.mean())
        return mean if foreground else 1 - mean
    columns = np.count_nonzero(truth, axis=0)
    height, width = truth.shape
    # the authors' code counts from 1, so the centroid's row and column belong to the first half
    middle = int(np.round(rows @ np.arange(height) / foreground)) + 1
    centre = int(np.round(columns @ np.arange(width) / foreground)) + 1

    inside = outside = _Moments(0, 0.0, 0.0)
    region = 0.0
    for vertical in (slice(0, middle), slice(middle, height)):
        for horizontal in (slice(0, centre), slice(centre, width)):
            part, mask = prediction[vertical, horizontal], truth[vertical, horizontal]
            # An empty region has no say. PySODMetrics gives NaN then: the truth's centroid lies in
            # the last row or column.
            if part.size == 0:
                continue
            of_truth, of_rest = _moments(part, mask), _moments(part, ~mask)
            inside, outside = inside + of_truth, outside + of_rest
            region += _similarity(part, of_truth, of_rest) * part.size / truth.size

    share = foreground / truth.size
    outside = outside._replace(mean=1 - outside.mean)
    whole = share * _object(inside) + (1 - share) * _object(outside)
    return max(0.0, float(alpha * whole + (1 - alpha) * region))


def _moments(part: np.ndarray, mask: np.ndarray) -> _Moments:
    count = np.count_nonzero(mask)
    mean, deviation = cv2.meanStdDev(part, mask=mask.view(np.uint8))
    return _Moments(count, float(mean[0, 0]), count * float(deviation[0, 0]) ** 2)


def _object(moments: _Moments) -> float:
    """How close to 1, and how even, the pixels are that should be 1."""
    deviation = np.sqrt(moments.spread / max(1, moments.count - 1))
    return 2 * moments.mean / (moments.mean**2 + 1 + deviation + _EPSILON)


def _similarity(part: np.ndarray, inside: _Moments, outside: _Moments) -> float:
    """Structural similarity of prediction and truth in one region."""
    if inside.count == 0 or outside.count == 0:
        # Without variation on either side the similarity is 1, else 0. That rounding may take a
        # constant for a variation is PySODMetrics' doing; figures would differ without it.
        return float((part == part.mean()).all())
    both = inside + outside
    truth_mean = inside.count / both.count
    divisor = both.count - 1 + _EPSILON
    variances = (both.spread + both.count * truth_mean * (1 - truth_mean)) / divisor
    covariance = inside.count * (1 - truth_mean) * (inside.mean - outside.mean) / divisor
    alike = 4 * both.mean * truth_mean * covariance
    return alike / ((both.mean**2 + truth_mean**2) * variances + _EPSILON)
