"""Counts of true and false positives and negatives, at one or at 256 thresholds."""

from typing import NamedTuple

import cv2
import numpy as np

LEVELS = 256
# OpenCV returns counts as float32, which holds all integers up to this one.
_LARGEST_EXACT_COUNT = 2**24


class Counts(NamedTuple):
    """Numbers of pixels, each an int or, over thresholds, an int64 array [256].

    Attributes:
        tp: Foreground, predicted as foreground.
        fp: Background, predicted as foreground.
        fn: Foreground, predicted as background.
        tn: Background, predicted as background.
    """

    tp: int | np.ndarray
    fp: int | np.ndarray
    fn: int | np.ndarray
    tn: int | np.ndarray

    @property
    def size(self) -> int:
        """Number of pixels of the image."""
        return int(self.foreground + np.max(self.fp + self.tn))

    @property
    def foreground(self) -> int:
        """Number of foreground pixels of the ground truth."""
        return int(np.max(self.tp + self.fn))


def binary_counts(found: np.ndarray, gt: np.ndarray) -> Counts:
    """Returns the counts of a binary prediction; both masks are bool [H, W]."""
    tp = np.count_nonzero(found & gt)
    fp = np.count_nonzero(found) - tp
    fn = np.count_nonzero(gt) - tp
    return Counts(tp, fp, fn, gt.size - tp - fp - fn)


def adaptive_counts(prediction: np.ndarray, gt: np.ndarray) -> Counts:
    """Returns the counts at twice the mean of the prediction, at most at 1.

    Args:
        prediction: float64 [H, W] in [0, 1].
        gt: bool [H, W].
    """
    return binary_counts(prediction >= min(2 * prediction.mean(), 1), gt)


def histograms(prediction: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Returns int64 [2, 256]: pixels per 8-bit level (rounded down) in foreground and background.

    Args:
        prediction: float64 [H, W] in [0, 1].
        gt: bool [H, W].
    """
    levels = (prediction * (LEVELS - 1)).astype(np.uint8)
    foreground = gt.view(np.uint8)
    rows = max(1, _LARGEST_EXACT_COUNT // gt.shape[1])
    result = np.zeros((2, LEVELS), np.int64)
    for top in range(0, len(levels), rows):
        strip = [levels[top : top + rows]]
        for histogram, mask in zip(result, (foreground[top : top + rows], None), strict=True):
            counts = cv2.calcHist(strip, [0], mask, [LEVELS], [0, LEVELS])
            histogram += counts.ravel().astype(int)  # [LEVELS, 1] before OpenCV 5
    result[1] -= result[0]
    return result


def threshold_counts(levels: np.ndarray) -> Counts:
    """Returns the counts at the thresholds 255/255, 254/255, ..., 0 from `histograms`."""
    tp, fp = np.cumsum(levels[:, ::-1], axis=1)
    return Counts(tp, fp, tp[-1] - tp, fp[-1] - fp)


def ratio(numerator: float | np.ndarray, denominator: float | np.ndarray) -> np.ndarray:
    """Returns the quotient, 0 where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator != 0)
