"""Metrics of one image by name, and scores of a set of images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .counts import Counts, adaptive_counts, binary_counts, histograms, threshold_counts
from .e_measure import e_measure
from .hce import human_correction_effort
from .overlap import accuracy, balanced_error_rate, boundary_iou, dice, f_measure, iou
from .s_measure import s_measure
from .weighted_f_measure import absolute_error, weighted_f_measure


@dataclass
class Image:
    """Prediction and ground truth of one image, and what several metrics compute from them.

    Attributes:
        prediction: float64 [H, W] in [0, 1], contiguous.
        gt: bool [H, W], contiguous.
        counts: Value of `at_thresholds`, if it is known; enough for metrics that are curves.
    """

    prediction: np.ndarray | None = None
    gt: np.ndarray | None = None
    counts: Counts | None = None

    @cached_property
    def at_thresholds(self) -> Counts:
        """Counts [256] at the thresholds 255/255, 254/255, ..., 0."""
        return self.counts or threshold_counts(histograms(self.prediction, self.gt))

    @cached_property
    def adaptive(self) -> Counts:
        """Counts at twice the mean of the prediction."""
        return adaptive_counts(self.prediction, self.gt)

    @cached_property
    def found(self) -> np.ndarray:
        """bool [H, W]: the prediction above 0.5."""
        return self.prediction > 0.5

    @cached_property
    def binary(self) -> Counts:
        """Counts of the prediction above 0.5."""
        return binary_counts(self.found, self.gt)


class Metric(NamedTuple):
    """Definition of a metric.

    Attributes:
        definition: Text that is written into every result.
        compute: Returns the score of an `Image`, or its curve [256] over thresholds.
        is_curve: Whether it is a curve; the score of a set is the largest value of the mean curve.
        lower_is_better: Whether lower scores are better.
        decimals: Number of decimals in tables.
    """

    definition: str
    compute: Callable[[Image], float | np.ndarray]
    is_curve: bool = False
    lower_is_better: bool = False
    decimals: int = 4


# The first five are the columns of Table 2 of the paper, in its order.
MEASURES = {
    'maxF': Metric(
        'F-measure, beta^2 = 0.3; mean over images per threshold k/255, then the largest',
        lambda image: f_measure(image.at_thresholds),
        is_curve=True,
    ),
    'wF': Metric(
        'weighted F-measure, beta^2 = 1; mean over images',
        lambda image: weighted_f_measure(image.prediction, image.gt),
    ),
    'E': Metric(
        'E-measure; mean over the 256 thresholds and over images',
        lambda image: e_measure(image.at_thresholds).mean(),
    ),
    'S': Metric(
        'S-measure, alpha = 0.5; mean over images',
        lambda image: s_measure(image.prediction, image.gt),
    ),
    'MAE': Metric(
        'mean absolute error; mean over images',
        lambda image: absolute_error(image.prediction, image.gt).mean(),
        lower_is_better=True,
    ),
    'meanF': Metric(
        'F-measure, beta^2 = 0.3; mean over the 256 thresholds and over images',
        lambda image: f_measure(image.at_thresholds).mean(),
    ),
    'adpF': Metric(
        'F-measure at twice the mean of the prediction (at most 1); mean over images',
        lambda image: f_measure(image.adaptive),
    ),
    'maxE': Metric(
        'E-measure; mean over images per threshold k/255, then the largest',
        lambda image: e_measure(image.at_thresholds),
        is_curve=True,
    ),
    'adpE': Metric(
        'E-measure at twice the mean of the prediction (at most 1); mean over images',
        lambda image: e_measure(image.adaptive),
    ),
    'IoU': Metric(
        'intersection over union above 0.5; mean over images', lambda image: iou(image.binary)
    ),
    'Dice': Metric(
        'Dice coefficient above 0.5; mean over images', lambda image: dice(image.binary)
    ),
    'BER': Metric(
        'balanced error rate above 0.5; mean over images',
        lambda image: balanced_error_rate(image.binary),
        lower_is_better=True,
    ),
    'Acc': Metric(
        'share of right pixels above 0.5; mean over images', lambda image: accuracy(image.binary)
    ),
    'BIoU': Metric(
        'IoU of inner boundaries of 2 % of the diagonal, above 0.5; mean over images',
        lambda image: boundary_iou(image.found, image.gt),
    ),
    'HCE': Metric(
        'human correction effort above 0.5, gamma = 5, epsilon = 2; mean over images',
        lambda image: human_correction_effort(image.found, image.gt),
        lower_is_better=True,
        decimals=1,
    ),
}
PAPER_MEASURES = ('maxF', 'wF', 'E', 'S', 'MAE')
LOWER_IS_BETTER = tuple(name for name, metric in MEASURES.items() if metric.lower_is_better)
IMPLEMENTATION = "mmdiffdis' own, equal to PySODMetrics 1.6 without its normalisation"


def check_measures(measures: Sequence[str]) -> list[str]:
    """Returns the names of metrics as a list.

    Raises:
        ValueError: If a name is unknown, or there is none.
    """
    if not measures or any(name not in MEASURES for name in measures):
        raise ValueError(f'measures={list(measures)}: expected names from {list(MEASURES)}')
    return list(measures)


def measure_image(
    prediction: np.ndarray,
    gt: np.ndarray,
    measures: Sequence[str],
    counts: Counts | None = None,
) -> dict[str, float | np.ndarray]:
    """Returns scores of one image; `maxF` and `maxE` are curves [256], from threshold 1 down to 0.

    Args:
        prediction: float64 [H, W] in [0, 1], used without changes.
        gt: bool [H, W].
        measures: Names from `MEASURES`.
        counts: Result of `threshold_counts` for the two, if it is known.

    Example:
        >>> gt = np.array([[True, False]])
        >>> measure_image(gt.astype(float), gt, ['MAE', 'IoU'])
        {'MAE': 0.0, 'IoU': 1.0}
    """
    image = Image(np.ascontiguousarray(prediction), np.ascontiguousarray(gt), counts)
    scores = {name: MEASURES[name].compute(image) for name in measures}
    return {name: x if MEASURES[name].is_curve else float(x) for name, x in scores.items()}


class Scores:
    """Scores of a set of images, to which images are added one by one.

    Memory does not grow with the set: 256 sums are kept for a curve, one for any other metric.

    Example:
        >>> scores = Scores()
        >>> scores.add({'MAE': 0.1})
        >>> scores.add({'MAE': 0.3})
        >>> scores.compute()
        {'MAE': 0.2}
    """

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, float | np.ndarray] = {}

    def add(self, values: Mapping[str, float | np.ndarray]) -> None:
        """Adds the result of `measure_image` for an image, always of the same metrics."""
        self.images += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0) + value

    def means(self) -> dict[str, float | np.ndarray]:
        """Returns means over the images; a curve stays a curve [256]."""
        return {name: total / self.images for name, total in self._sums.items()}

    def compute(self) -> dict[str, float]:
        """Returns one number for each metric; the largest value of a mean curve."""
        return {name: float(np.max(mean)) for name, mean in self.means().items()}


def summarise(rows: Sequence[Mapping], measures: Sequence[str]) -> dict[str, float]:
    """Returns the scores of a set from the results of `measure_image` for its images."""
    scores = Scores()
    for row in rows:
        scores.add({name: row[name] for name in measures})
    return scores.compute()
