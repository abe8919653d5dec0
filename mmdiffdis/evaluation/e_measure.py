"""The E-measure (Fan et al., IJCAI 2018): how well a binary prediction and a truth align."""

import numpy as np

from .counts import Counts

_EPSILON = np.finfo(np.float64).eps


def e_measure(counts: Counts) -> np.ndarray:
    """E-measure of binary predictions, scalar or [256] as the counts are.

    Prediction and truth, each minus its mean, are aligned where their product is large. The four
    kinds of pixels have one alignment each, so counts are all that is needed. The sum is divided by
    the number of pixels less one, as the authors do: a perfect mask has a little more than 1.
    """
    size, foreground = counts.size, counts.foreground
    found = counts.tp + counts.fp
    if foreground == 0:
        aligned = size - found
    elif foreground == size:
        aligned = found
    else:
        mean_found, mean_truth = found / size, foreground / size
        aligned = (
            _alignment(1 - mean_found, 1 - mean_truth) * counts.tp
            + _alignment(1 - mean_found, -mean_truth) * counts.fp
            + _alignment(-mean_found, 1 - mean_truth) * counts.fn
            + _alignment(-mean_found, -mean_truth) * counts.tn
        )
    return np.asarray(aligned / (size - 1 + _EPSILON))


def _alignment(found: float | np.ndarray, truth: float) -> float | np.ndarray:
    """In [0, 1], from the two masks' distances from their means."""
    return (2 * found * truth / (found**2 + truth**2 + _EPSILON) + 1) ** 2 / 4
