"""S-measure (Fan et al., ICCV 2017): similarity of structure, by object and by region."""

from typing import NamedTuple

import cv2
import numpy as np

_EPSILON = np.finfo(np.float64).eps


class _Moments(NamedTuple):
    """Number, mean and sum of squared deviations of some pixels of a prediction."""

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


def s_measure(prediction: np.ndarray, gt: np.ndarray, alpha: float = 0.5) -> float:
    """Returns the S-measure of one image.

    Args:
        prediction: float64 [H, W] in [0, 1].
        gt: bool [H, W].
        alpha: Weight of the object part; the region part has the rest.

    Example:
        >>> gt = np.eye(4, dtype=bool)
        >>> round(s_measure(0.8 * gt, gt), 4)
        0.9834
    """
    rows = np.count_nonzero(gt, axis=1)
    foreground = int(rows.sum())
    if foreground in (0, gt.size):
        mean = float(prediction.mean())
        return mean if foreground else 1 - mean
    columns = np.count_nonzero(gt, axis=0)
    height, width = gt.shape
    # the authors' code counts from 1, so the centroid's row and column belong to the first half
    middle = int(np.round(rows @ np.arange(height) / foreground)) + 1
    centre = int(np.round(columns @ np.arange(width) / foreground)) + 1

    inside = outside = _Moments(0, 0.0, 0.0)
    region_part = 0.0
    for vertical in (slice(0, middle), slice(middle, height)):
        for horizontal in (slice(0, centre), slice(centre, width)):
            part, mask = prediction[vertical, horizontal], gt[vertical, horizontal]
            # Empty regions are skipped. They occur if the centroid of the ground truth lies in the
            # last row or column; PySODMetrics returns NaN then.
            if part.size == 0:
                continue
            foreground_part, background_part = _moments(part, mask), _moments(part, ~mask)
            inside, outside = inside + foreground_part, outside + background_part
            region_part += _similarity(part, foreground_part, background_part) * part.size / gt.size

    share = foreground / gt.size
    outside = outside._replace(mean=1 - outside.mean)
    object_part = share * _object(inside) + (1 - share) * _object(outside)
    return max(0.0, float(alpha * object_part + (1 - alpha) * region_part))


def _moments(part: np.ndarray, mask: np.ndarray) -> _Moments:
    count = np.count_nonzero(mask)
    mean, deviation = cv2.meanStdDev(part, mask=mask.view(np.uint8))
    return _Moments(count, float(mean[0, 0]), count * float(deviation[0, 0]) ** 2)


def _object(moments: _Moments) -> float:
    """Returns the object similarity: high if the pixels are close to 1 and vary little."""
    deviation = np.sqrt(moments.spread / max(1, moments.count - 1))
    return 2 * moments.mean / (moments.mean**2 + 1 + deviation + _EPSILON)


def _similarity(part: np.ndarray, inside: _Moments, outside: _Moments) -> float:
    """Returns the structural similarity of prediction and ground truth in one region."""
    if inside.count == 0 or outside.count == 0:
        # 1 if neither mask varies, else 0. The mean of a constant may differ from it by rounding;
        # it counts as variation here, too, for the same scores as PySODMetrics.
        return float((part == part.mean()).all())
    both = inside + outside
    gt_mean = inside.count / both.count
    divisor = both.count - 1 + _EPSILON
    variances = (both.spread + both.count * gt_mean * (1 - gt_mean)) / divisor
    covariance = inside.count * (1 - gt_mean) * (inside.mean - outside.mean) / divisor
    similarity = 4 * both.mean * gt_mean * covariance
    return similarity / ((both.mean**2 + gt_mean**2) * variances + _EPSILON)
