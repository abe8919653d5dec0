"""How many pixels of truth and of background a thresholded prediction holds."""

from typing import NamedTuple

import cv2
import numpy as np

LEVELS = 256
# OpenCV hands counts out as float32, which holds whole numbers up to this one.
_LARGEST_EXACT_COUNT = 2**24


class Counts(NamedTuple):
    """Pixels, each an int or, over thresholds, an int64 array [256].

    Attributes:
        tp: foreground, predicted foreground.
        fp: background, predicted foreground.
        fn: foreground, predicted background.
        tn: background, predicted background.
    """

    tp: int | np.ndarray
    fp: int | np.ndarray
    fn: int | np.ndarray
    tn: int | np.ndarray

    @property
    def size(self) -> int:
        """Pixels of the image."""
        return int(self.foreground + np.max(self.fp + self.tn))

    @property
    def foreground(self) -> int:
        """Pixels of the truth's foreground."""
        return int(np.max(self.tp + self.fn))


def binary_counts(found: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts of one binary prediction; both bool [H, W]."""
    tp = np.count_nonzero(found & truth)
    fp = np.count_nonzero(found) - tp
    fn = np.count_nonzero(truth) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def adaptive_counts(prediction: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts of what reaches twice the prediction's mean, or 1 if that is less.

    Args:
        prediction: float64 [H, W] in [0, 1].
        truth: bool [H, W].
    """
    return binary_counts(prediction >= min(2 * prediction.mean(), 1), truth)


def histograms(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 [2, 256]: pixels of each 8-bit level, rounded down, in truth's foreground and outside.

    Args:
        prediction: float64 [H, W] in [0, 1].
        truth: bool [H, W].
    """
    levels = (prediction * (LEVELS - 1)).astype(np.uint8)
    foreground = truth.view(np.uint8)
    rows = max(1, _LARGEST_EXACT_COUNT // truth.shape[1])
    result = np.zeros((2, LEVELS), np.int64)
    for top in range(0, len(levels), rows):
        strip = [levels[top : top + rows]]
        for histogram, mask in zip(result, (foreground[top : top + rows], None), strict=True):
            histogram += cv2.calcHist(strip, [0], mask, [LEVELS], [0, LEVELS])[:, 0].astype(int)
    result[1] -= result[0]
    return result


def threshold_counts(levels: np.ndarray) -> Counts:
    """Counts at thresholds 255/255, 254/255, ..., 0, from what ``histograms`` gives."""
    tp, fp = np.cumsum(levels[:, ::-1], axis=1)
    return Counts(tp, fp, tp[-1] - tp, fp[-1] - fp)


def ratio(numerator: float | np.ndarray, denominator: float | np.ndarray) -> np.ndarray:
    """Their quotient, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)
