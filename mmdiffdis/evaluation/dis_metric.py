"""The measures of dichotomous image segmentation, under a protocol that is part of the result."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import py_sod_metrics
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable

from mmdiffdis.structures import foreground_probability

# What is done to a prediction before it is measured, in this order: to 8 bits, stretched,
# binarised.
PROTOCOLS = {
    # as saved masks are scored by most DIS code, e.g. MVANet's
    'soft': {'quantise': True, 'min_max': False, 'binarise': None},
    # as the released DiffDIS script does before every measure
    'diffdis': {'quantise': True, 'min_max': True, 'binarise': 0.5},
}

# Name: definition. The first five are the columns of Table 2 of the paper, in its order.
MEASURES = {
    'maxF': 'F-measure, beta^2 = 0.3; mean over images per threshold k/255, then the largest',
    'wF': 'weighted F-measure, beta^2 = 1; mean over images',
    'E': 'E-measure; mean over the 256 thresholds and over images',
    'S': 'S-measure, alpha = 0.5; mean over images',
    'MAE': 'mean absolute error; mean over images',
    'maxE': 'E-measure; mean over images per threshold k/255, then the largest',
    'adpE': 'E-measure at twice the mean of the prediction (at most 1); mean over images',
}
PAPER_MEASURES = ('maxF', 'wF', 'E', 'S', 'MAE')
_CURVES = ('maxF', 'maxE')


@METRICS.register_module()
class DISMetric(BaseMetric):
    """maxF, wF, E, S and MAE of foreground probabilities, by the PySODMetrics package.

    Works for every segmentor that ``foreground_probability`` understands. If the data samples come
    from several subsets (``metainfo['subset']``), there are figures per subset, e.g.
    ``DIS-TE1/maxF``, besides the overall ones, e.g. ``maxF``, which are over all images alike.

    An image without foreground scores 0 in maxF and wF whatever is predicted (PySODMetrics'
    convention).

    Args:
        protocol: ``'soft'``, ``'diffdis'``, or a dict with some of ``quantise`` (bool: to 8 bits,
            as a saved mask), ``min_max`` (bool: stretch each prediction to [0, 1]) and ``binarise``
            (None, or a threshold that foreground exceeds); what is left out is as in ``'soft'``.
            Results of different protocols do not compare.
        measures: names out of ``MEASURES``.
        kwargs: of ``BaseMetric``.

    Raises:
        ValueError: if the protocol or a measure is unknown.
    """

    def __init__(
        self,
        protocol: str | Mapping = 'soft',
        measures: Sequence[str] = PAPER_MEASURES,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol_name, self.protocol = _resolve_protocol(protocol)
        unknown = [name for name in measures if name not in MEASURES]
        if unknown or not measures:
            raise ValueError(
                f'`measures` is {list(measures)}, expected names out of {list(MEASURES)}.'
            )
        self.measures = list(measures)

    def process(self, data_batch: dict | None, data_samples: Sequence[dict]) -> None:
        """Measure each sample; keeps (subset, {measure: number or curve of 256}) per image."""
        for sample in data_samples:
            path = sample.get('img_path', '(no img_path)')
            prediction = foreground_probability(sample).cpu().numpy()
            truth = _truth(sample, path)
            if prediction.shape != truth.shape:
                raise ValueError(
                    f"the prediction for '{path}' is {prediction.shape[1]}x{prediction.shape[0]} "
                    'pixels, its truth '
                    f'{truth.shape[1]}x{truth.shape[0]}. Predictions must be at the original size: '
                    'in the test pipeline, load annotations after Resize.'
                )
            prediction = apply_protocol(prediction, **self.protocol)
            values = measure_image(prediction, truth, self.measures)
            self.results.append((sample.get('subset', ''), values))

    def compute_metrics(self, results: list[tuple[str, dict]]) -> dict[str, float]:
        """Overall figures, and those per subset if there are several; prints a table of them."""
        subsets = sorted({subset for subset, _ in results})
        table = PrettyTable(['subset', 'images', *self.measures])
        figures = {}
        for name in [*subsets, None] if len(subsets) > 1 else [None]:
            rows = [values for subset, values in results if name in (None, subset)]
            scores = summarise(rows, self.measures)
            prefix = '' if name is None else f'{name}/'
            figures.update({prefix + measure: score for measure, score in scores.items()})
            label = (
                name if name is not None else ('all' if len(subsets) > 1 else subsets[0] or 'all')
            )
            table.add_row([label, len(rows), *(f'{score:.4f}' for score in scores.values())])
        print_log(f'\nprotocol {self._protocol_text()}\n{table.get_string()}', logger='current')
        return figures

    def protocol_record(self) -> dict:
        """Everything on the metric's side that makes a figure what it is, ready for JSON."""
        return dict(
            protocol=self.protocol_name,
            **self.protocol,
            truth='foreground where the soft mask is > 0.5',
            size='scored at the original size; the model resizes its prediction',
            measures={name: MEASURES[name] for name in self.measures},
            implementation=f'pysodmetrics {version("pysodmetrics")}, its own normalisation off',
        )

    def _protocol_text(self) -> str:
        details = ', '.join(f'{key}={value}' for key, value in self.protocol.items())
        return f"'{self.protocol_name}' ({details})"


def apply_protocol(
    probability: np.ndarray, quantise: bool, min_max: bool, binarise: float | None
) -> np.ndarray:
    """float64 map in [0, 1] as the protocol hands it to the measures.

    Example:
        >>> apply_protocol(np.array([[0.2, 0.4]]), quantise=False, min_max=True, binarise=None)
        array([[0., 1.]])
    """
    probability = probability.astype(np.float64)
    if quantise:
        probability = np.rint(probability * 255) / 255
    if min_max and probability.max() > probability.min():
        low, high = probability.min(), probability.max()
        probability = (probability - low) / (high - low)
    if binarise is not None:
        probability = (probability > binarise).astype(np.float64)
    return probability


def measure_image(
    prediction: np.ndarray, truth: np.ndarray, measures: Sequence[str]
) -> dict[str, float | np.ndarray]:
    """Measures of one image; ``maxF`` and ``maxE`` are curves [256], from threshold 1 down to 0.

    Args:
        prediction: float64 [H, W] in [0, 1], taken as it is.
        truth: bool [H, W].
        measures: names out of ``MEASURES``.

    Example:
        >>> truth = np.array([[True, False]])
        >>> measure_image(truth.astype(float), truth, ['MAE'])
        {'MAE': 0.0}
    """
    values = {}
    if 'maxF' in measures:
        handler = py_sod_metrics.FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=0.3)
        f_measure = py_sod_metrics.FmeasureV2({'f': handler})
        f_measure.step(prediction, truth, normalize=False)
        values['maxF'] = f_measure.get_results()['f']['dynamic']
    if 'wF' in measures:
        weighted = py_sod_metrics.WeightedFmeasure(beta=1)
        weighted.step(prediction, truth, normalize=False)
        values['wF'] = float(weighted.get_results()['wfm'])
    if {'E', 'maxE', 'adpE'} & set(measures):
        alignment = py_sod_metrics.Emeasure()
        alignment.step(prediction, truth, normalize=False)
        result = alignment.get_results()['em']
        every = {
            'E': float(result['curve'].mean()),
            'maxE': result['curve'],
            'adpE': float(result['adp']),
        }
        values.update({name: value for name, value in every.items() if name in measures})
    if 'S' in measures:
        structure = py_sod_metrics.Smeasure(alpha=0.5)
        structure.step(prediction, truth, normalize=False)
        values['S'] = float(structure.get_results()['sm'])
    if 'MAE' in measures:
        values['MAE'] = float(np.abs(prediction - truth).mean())
    return values


def summarise(rows: Sequence[dict], measures: Sequence[str]) -> dict[str, float]:
    """Figures of a set of images from what ``measure_image`` gave for each."""
    scores = {}
    for name in measures:
        mean = np.mean([row[name] for row in rows], axis=0)
        scores[name] = float(mean.max() if name in _CURVES else mean)
    return scores


def _resolve_protocol(protocol: str | Mapping) -> tuple[str, dict]:
    """(name, complete settings)."""
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ValueError(
                f"`protocol` is '{protocol}', expected one of {list(PROTOCOLS)} or a dict with "
                'some of '
                f'{list(PROTOCOLS["soft"])}.'
            )
        return protocol, dict(PROTOCOLS[protocol])
    unknown = [key for key in protocol if key not in PROTOCOLS['soft']]
    if unknown:
        raise ValueError(
            f'unknown key(s) {unknown} in `protocol`, expected some of {list(PROTOCOLS["soft"])}.'
        )
    return 'custom', {**PROTOCOLS['soft'], **protocol}


def _truth(sample: Mapping, path: str) -> np.ndarray:
    """bool [H, W]: soft mask > 0.5, or the hard label of stock pipelines."""
    key = 'gt_alpha' if 'gt_alpha' in sample else 'gt_sem_seg'
    if key not in sample:
        raise ValueError(
            f"the data sample of '{path}' has neither 'gt_alpha' nor 'gt_sem_seg'; put "
            'LoadDISAnnotations '
            'into the test pipeline.'
        )
    field = sample[key]
    truth = (field['data'] if isinstance(field, Mapping) else field.data)[0].cpu().numpy()
    if key == 'gt_sem_seg' and not np.isin(truth, (0, 1)).all():
        raise ValueError(
            f"'gt_sem_seg' of '{path}' holds {np.unique(truth).tolist()[:8]}, expected 0 and 1. "
            'Load the mask with '
            'LoadDISAnnotations.'
        )
    return truth > 0.5
