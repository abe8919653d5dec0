"""All measures of one image by their names, and of a set of images."""

from collections.abc import Mapping, Sequence

import numpy as np

from .counts import Counts, adaptive_counts, binary_counts, histograms, threshold_counts
from .e_measure import e_measure
from .hce import human_correction_effort
from .overlap import accuracy, balanced_error_rate, boundary_iou, dice, f_measure, iou
from .s_measure import s_measure
from .weighted_f_measure import absolute_error, weighted_f_measure

# Name: definition. The first five are the columns of Table 2 of the paper, in its order.
MEASURES = {
    'maxF': 'F-measure, beta^2 = 0.3; mean over images per threshold k/255, then the largest',
    'wF': 'weighted F-measure, beta^2 = 1; mean over images',
    'E': 'E-measure; mean over the 256 thresholds and over images',
    'S': 'S-measure, alpha = 0.5; mean over images',
    'MAE': 'mean absolute error; mean over images',
    'meanF': 'F-measure, beta^2 = 0.3; mean over the 256 thresholds and over images',
    'adpF': 'F-measure at twice the mean of the prediction (at most 1); mean over images',
    'maxE': 'E-measure; mean over images per threshold k/255, then the largest',
    'adpE': 'E-measure at twice the mean of the prediction (at most 1); mean over images',
    'IoU': 'intersection over union above 0.5; mean over images',
    'Dice': 'Dice coefficient above 0.5; mean over images',
    'BER': 'balanced error rate above 0.5; mean over images',
    'Acc': 'share of right pixels above 0.5; mean over images',
    'BIoU': 'IoU of inner boundaries of 2 % of the diagonal, above 0.5; mean over images',
    'HCE': 'human correction effort above 0.5, gamma = 5, epsilon = 2; mean over images',
}
PAPER_MEASURES = ('maxF', 'wF', 'E', 'S', 'MAE')
LOWER_IS_BETTER = ('MAE', 'BER', 'HCE')
IMPLEMENTATION = "mmdiffdis' own, equal to PySODMetrics 1.6 without its normalisation"

_AT_THRESHOLDS = {'maxF': f_measure, 'meanF': f_measure, 'maxE': e_measure, 'E': e_measure}
_ADAPTIVE = {'adpF': f_measure, 'adpE': e_measure}
_BINARY = {'IoU': iou, 'Dice': dice, 'BER': balanced_error_rate, 'Acc': accuracy}
_OF_BINARY_MASK = {'BIoU': boundary_iou, 'HCE': human_correction_effort}
_OF_SOFT_MASK = {
    'wF': weighted_f_measure,
    'S': s_measure,
    'MAE': lambda prediction, truth: absolute_error(prediction, truth).mean(),
}
# Of these, the mean over images comes before the largest value.
CURVES = ('maxF', 'maxE')
_BINARY_THRESHOLD = 0.5


def check_measures(measures: Sequence[str]) -> list[str]:
    """The names as a list.

    Raises:
        ValueError: if one is unknown or there is none.
    """
    if not measures or any(name not in MEASURES for name in measures):
        raise ValueError(f'`measures` is {list(measures)}, expected names out of {list(MEASURES)}.')
    return list(measures)


def measure_image(
    prediction: np.ndarray,
    truth: np.ndarray,
    measures: Sequence[str],
    counts: Counts | None = None,
) -> dict[str, float | np.ndarray]:
    """Measures of one image; ``maxF`` and ``maxE`` are curves [256], from threshold 1 down to 0.

    Args:
        prediction: float64 [H, W] in [0, 1], taken as it is.
        truth: bool [H, W].
        measures: names out of ``MEASURES``.
        counts: what ``threshold_counts`` gives for the two, if it is at hand.

    Example:
        >>> truth = np.array([[True, False]])
        >>> measure_image(truth.astype(float), truth, ['MAE'])
        {'MAE': 0.0}
    """
    wanted = set(measures)
    prediction, truth = np.ascontiguousarray(prediction), np.ascontiguousarray(truth)
    values = {name: of(prediction, truth) for name, of in _OF_SOFT_MASK.items() if name in wanted}
    if wanted & set(_AT_THRESHOLDS):
        counts = counts or threshold_counts(histograms(prediction, truth))
        for name in wanted & set(_AT_THRESHOLDS):
            curve = _AT_THRESHOLDS[name](counts)
            values[name] = curve if name in CURVES else curve.mean()
    if wanted & set(_ADAPTIVE):
        adaptive = adaptive_counts(prediction, truth)
        values.update({name: _ADAPTIVE[name](adaptive) for name in wanted & set(_ADAPTIVE)})
    if wanted & {*_BINARY, *_OF_BINARY_MASK}:
        found = prediction > _BINARY_THRESHOLD
        binary = binary_counts(found, truth)
        values.update({name: _BINARY[name](binary) for name in wanted & set(_BINARY)})
        for name in wanted & set(_OF_BINARY_MASK):
            values[name] = _OF_BINARY_MASK[name](found, truth)
    return {name: values[name] if name in CURVES else float(values[name]) for name in measures}


class Scores:
    """Figures of a set of images, to which they are added one by one.

    Only sums are kept, 256 numbers for a curve and one for any other measure, whatever the number
    of images.

    Example:
        >>> scores = Scores()
        >>> scores.add({'MAE': 0.1})
        >>> scores.add({'MAE': 0.3})
        >>> scores.figures()
        {'MAE': 0.2}
    """

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, float | np.ndarray] = {}

    def add(self, values: Mapping[str, float | np.ndarray]) -> None:
        """Add an image, by what ``measure_image`` gave for it; always the same measures."""
        self.images += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def means(self) -> dict[str, float | np.ndarray]:
        """Means over the images; curves are curves [256]."""
        return {name: total / self.images for name, total in self._sums.items()}

    def figures(self) -> dict[str, float]:
        """One number for each measure; of a curve, the largest."""
        return {name: float(np.max(mean)) for name, mean in self.means().items()}


def summarise(rows: Sequence[Mapping], measures: Sequence[str]) -> dict[str, float]:
    """Figures of a set of images from what ``measure_image`` gave for each."""
    scores = Scores()
    for row in rows:
        scores.add({name: row[name] for name in measures})
    return scores.figures()
