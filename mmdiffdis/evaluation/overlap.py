"""Overlap metrics from pixel counts (F-measure, IoU, Dice, ...), and boundary IoU."""

import cv2
import numpy as np

from .counts import Counts, binary_counts, ratio

F_BETA_SQUARED = 0.3


def precision(counts: Counts) -> np.ndarray:
    """Returns the share of predicted foreground that is foreground; 0 if none is predicted.

    Example:
        >>> float(precision(Counts(tp=3, fp=1, fn=3, tn=1)))
        0.75
    """
    return ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> np.ndarray:
    """Returns the share of foreground that is predicted; 0 if there is no foreground.

    Example:
        >>> float(recall(Counts(tp=3, fp=1, fn=3, tn=1)))
        0.5
    """
    return ratio(counts.tp, counts.tp + counts.fn)


def f_measure(counts: Counts, beta_squared: float = F_BETA_SQUARED) -> np.ndarray:
    """Returns the weighted harmonic mean of precision and recall (Achanta et al., CVPR 2009).

    It is 0 without true positives.

    Example:
        >>> float(f_measure(Counts(tp=2, fp=0, fn=2, tn=4), beta_squared=1))
        0.6666666666666666
    """
    hits = (1 + beta_squared) * counts.tp
    return ratio(hits, hits + counts.fp + beta_squared * counts.fn)


def iou(counts: Counts) -> np.ndarray:
    """Returns the intersection over union; 0 if both masks are empty.

    Example:
        >>> float(iou(Counts(tp=2, fp=1, fn=1, tn=4)))
        0.5
    """
    return ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def dice(counts: Counts) -> np.ndarray:
    """Returns twice the intersection over the sum of the areas; 0 if both masks are empty.

    Example:
        >>> float(dice(Counts(tp=3, fp=1, fn=1, tn=3)))
        0.75
    """
    return ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def balanced_error_rate(counts: Counts) -> np.ndarray:
    """Returns 1 minus the mean of the shares of foreground and of background that are correct.

    If the ground truth has no foreground (or no background), the share of it counts as 0, so the
    correct prediction scores 0.5.

    Example:
        >>> float(balanced_error_rate(Counts(tp=3, fp=2, fn=1, tn=2)))
        0.375
    """
    return 1 - (recall(counts) + ratio(counts.tn, counts.tn + counts.fp)) / 2


def accuracy(counts: Counts) -> np.ndarray:
    """Returns the share of pixels that are correct.

    Example:
        >>> float(accuracy(Counts(tp=3, fp=1, fn=1, tn=3)))
        0.75
    """
    return ratio(counts.tp + counts.tn, counts.tp + counts.fp + counts.fn + counts.tn)


def boundary_iou(found: np.ndarray, gt: np.ndarray, width: float = 0.02) -> float:
    """Returns the IoU of the inner boundaries (Cheng et al., CVPR 2021); 0 if both are empty.

    Args:
        found: bool [H, W].
        gt: bool [H, W].
        width: Width of the boundaries as a share of the image's diagonal; at least one pixel.

    Example:
        >>> gt = np.ones((6, 6), bool)  # boundaries of 20 and 18 pixels, 14 of them in both
        >>> boundary_iou(gt & (np.arange(6) > 0), gt)
        0.5833333333333334
    """
    # Python's round, halves to even, as in the authors' boundary_iou package
    pixels = max(1, int(round(width * np.hypot(*gt.shape))))
    return float(iou(binary_counts(_boundary(found, pixels), _boundary(gt, pixels))))


def _boundary(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Returns bool [H, W]: foreground at most `pixels` steps from the background.

    Diagonal steps count as one, and everything outside the image is background.
    """
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    return mask & (depth <= pixels)
