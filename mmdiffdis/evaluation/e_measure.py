"""E-measure (Fan et al., IJCAI 2018): alignment of a binary prediction with the ground truth."""

import numpy as np

from .counts import Counts

_EPSILON = np.finfo(np.float64).eps


def e_measure(counts: Counts) -> np.ndarray:
    """Returns the E-measure of binary predictions, a scalar or [256] like the counts.

    Prediction and ground truth, each minus its mean, are aligned where their product is large. The
    alignment is the same for all pixels of one of the four counts, so the counts are sufficient.
    The sum is divided by the number of pixels less one, as in the authors' code, so a perfect mask
    scores slightly more than 1.

    Example:
        >>> round(float(e_measure(Counts(tp=30, fp=10, fn=10, tn=50))), 4)
        0.8084
    """
    size, foreground = counts.size, counts.foreground
    found = counts.tp + counts.fp
    if foreground == 0:
        aligned = size - found
    elif foreground == size:
        aligned = found
    else:
        mean_found, mean_gt = found / size, foreground / size
        aligned = (
            _alignment(1 - mean_found, 1 - mean_gt) * counts.tp
            + _alignment(1 - mean_found, -mean_gt) * counts.fp
            + _alignment(-mean_found, 1 - mean_gt) * counts.fn
            + _alignment(-mean_found, -mean_gt) * counts.tn
        )
    return np.asarray(aligned / (size - 1 + _EPSILON))


def _alignment(found: float | np.ndarray, gt: float) -> float | np.ndarray:
    """Returns the alignment in [0, 1] of two pixels' deviations from the means of their masks."""
    return (2 * found * gt / (found**2 + gt**2 + _EPSILON) + 1) ** 2 / 4
