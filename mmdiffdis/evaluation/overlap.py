"""Measures of overlap, from counts of pixels; and boundary IoU."""

import cv2
import numpy as np

from .counts import Counts, binary_counts, ratio

F_BETA_SQUARED = 0.3


def precision(counts: Counts) -> np.ndarray:
    """Share of the pixels found that are foreground; 0 if nothing is found."""
    return ratio(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> np.ndarray:
    """Share of the foreground that is found; 0 if there is none."""
    return ratio(counts.tp, counts.tp + counts.fn)


def f_measure(counts: Counts, beta_squared: float = F_BETA_SQUARED) -> np.ndarray:
    """Weighted harmonic mean of precision and recall (Achanta et al., CVPR 2009); 0 without hits.

    Example:
        >>> float(f_measure(Counts(tp=2, fp=0, fn=2, tn=4), beta_squared=1))
        0.6666666666666666
    """
    hits = (1 + beta_squared) * counts.tp
    return ratio(hits, hits + counts.fp + beta_squared * counts.fn)


def iou(counts: Counts) -> np.ndarray:
    """Intersection over union; 0 if both masks are empty."""
    return ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def dice(counts: Counts) -> np.ndarray:
    """Twice the intersection over the sum of the areas; 0 if both masks are empty."""
    return ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def balanced_error_rate(counts: Counts) -> np.ndarray:
    """1 minus the mean of the shares of foreground and of background that are right.

    The share of what the truth has none of counts as 0, so a perfect empty mask has 0.5.
    """
    return 1 - (recall(counts) + ratio(counts.tn, counts.tn + counts.fp)) / 2


def accuracy(counts: Counts) -> np.ndarray:
    """Share of the pixels that are right."""
    return ratio(counts.tp + counts.tn, counts.tp + counts.fp + counts.fn + counts.tn)


def boundary_iou(found: np.ndarray, truth: np.ndarray, width: float = 0.02) -> float:
    """IoU of the masks' inner boundaries (Cheng et al., CVPR 2021); 0 if both masks are empty.

    Args:
        found: bool [H, W].
        truth: bool [H, W].
        width: of the boundaries, as a share of the image's diagonal; at least one pixel.
    """
    # Python's round, halves to even, as in the authors' boundary_iou package
    pixels = max(1, int(round(width * np.hypot(*truth.shape))))
    return float(iou(binary_counts(_boundary(found, pixels), _boundary(truth, pixels))))


def _boundary(mask: np.ndarray, pixels: int) -> np.ndarray:
    """bool [H, W]: foreground less than ``pixels`` steps, also diagonal, inside of the mask.

    What is beyond the image counts as background.
    """
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    return mask & (depth <= pixels)
