"""The measures of dichotomous image segmentation, under a protocol that is part of the result."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable

from ..structures import foreground_probability
from .measures import (
    IMPLEMENTATION,
    MEASURES,
    PAPER_MEASURES,
    check_measures,
    measure_image,
    summarise,
)
from .protocol import TRUTH_THRESHOLD, apply_protocol, protocol_text, resolve_protocol


@METRICS.register_module()
class DISMetric(BaseMetric):
    """Measures of foreground probabilities; by default the paper's maxF, wF, E, S and MAE.

    Works for every segmentor that ``foreground_probability`` understands. If the data samples come
    from several subsets (``metainfo['subset']``), there are figures per subset, e.g.
    ``DIS-TE1/maxF``, besides the overall ones, e.g. ``maxF``, which are over all images alike.

    An image without foreground scores 0 in maxF and wF whatever is predicted (PySODMetrics'
    convention).

    Args:
        protocol: see ``resolve_protocol``. Results of different protocols do not compare.
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
        self.protocol_name, self.protocol = resolve_protocol(protocol)
        self.measures = check_measures(measures)

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
        print_log(f'\n{protocol_text(self._settings())}\n{table.get_string()}', logger='current')
        return figures

    def protocol_record(self) -> dict:
        """Everything on the metric's side that makes a figure what it is, ready for JSON."""
        return dict(
            **self._settings(),
            truth=f'foreground where the soft mask is > {TRUTH_THRESHOLD}',
            size='scored at the original size; the model resizes its prediction',
            measures={name: MEASURES[name] for name in self.measures},
            implementation=IMPLEMENTATION,
        )

    def _settings(self) -> dict:
        return dict(protocol=self.protocol_name, **self.protocol)


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
    return truth > TRUTH_THRESHOLD
