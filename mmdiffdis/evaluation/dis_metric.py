"""MMEngine metric for dichotomous image segmentation, under an explicit protocol."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from prettytable import PrettyTable

from ..structures import foreground_probability
from .metrics import (
    IMPLEMENTATION,
    MEASURES,
    PAPER_MEASURES,
    check_measures,
    measure_image,
    summarise,
)
from .protocol import (
    TRUTH_THRESHOLD,
    apply_protocol,
    describe_empty,
    protocol_text,
    resolve_protocol,
)


@METRICS.register_module()
class DISMetric(BaseMetric):
    """Metrics of foreground probabilities; by default the paper's maxF, wF, E, S and MAE.

    Works for every segmentor that `foreground_probability` supports. If the data samples come from
    several subsets (`metainfo['subset']`), there are scores per subset, e.g. `DIS-TE1/maxF`, and
    overall scores, e.g. `maxF`, in which all images have the same weight.

    Losses that a model computes in validation (metainfo `losses`) are averaged over the images as
    'val_loss', their sum, and 'val_<name>'.

    An image without foreground scores 0 in maxF and wF for any prediction (PySODMetrics'
    convention).

    Args:
        protocol: See `resolve_protocol`. Scores of different protocols cannot be compared.
        measures: Names from `MEASURES`.
        kwargs: Arguments of `BaseMetric`.

    Raises:
        ValueError: If the protocol or a metric is unknown.
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
        """Scores each sample; keeps its subset, {metric: score or curve [256]}, whether it is
        empty, and its losses.

        An image is empty if its ground truth has no foreground.
        """
        for sample in data_samples:
            path = sample.get('img_path', '(no img_path)')
            prediction = foreground_probability(sample).cpu().numpy()
            gt = _ground_truth(sample, path)
            if prediction.shape != gt.shape:
                found, expected = ('{1}x{0}'.format(*mask.shape) for mask in (prediction, gt))
                raise ValueError(
                    f"the prediction for '{path}' is {found} pixels, its ground truth {expected}: "
                    'predictions must have the original size; in the test pipeline, load '
                    'annotations after Resize'
                )
            prediction = apply_protocol(prediction, **self.protocol)
            values = measure_image(prediction, gt, self.measures)
            losses = sample.get('losses', {})
            self.results.append((sample.get('subset', ''), values, not gt.any(), losses))

    def compute_metrics(self, results: list[tuple[str, dict, bool, dict]]) -> dict[str, float]:
        """Returns overall scores, and scores per subset if there are several; logs a table."""
        subsets = sorted({subset for subset, *_ in results})
        table = PrettyTable(['subset', 'images', 'empty', *self.measures])
        all_scores = {}
        for subset in [*subsets, None] if len(subsets) > 1 else [None]:
            part = [result for result in results if subset in (None, result[0])]
            rows = [values for _, values, *_ in part]
            empty = sum(is_empty for *_, is_empty, _ in part)
            scores = summarise(rows, self.measures)
            prefix = '' if subset is None else f'{subset}/'
            all_scores.update({prefix + name: score for name, score in scores.items()})
            label = subset
            if subset is None:
                label = 'all' if len(subsets) > 1 else subsets[0] or 'all'
            row = [label, len(rows), empty, *(f'{score:.4f}' for score in scores.values())]
            table.add_row(row)
        all_scores |= mean_losses([losses for *_, losses in results])
        text = f'\n{protocol_text(self._settings())}\n{table.get_string()}'
        if empty:  # of all images
            text += f'\n{describe_empty(empty)}'
        print_log(text, logger='current')
        return all_scores

    def protocol_record(self) -> dict:
        """Returns the protocol and the metrics' definitions as a JSON-serialisable dict."""
        return dict(
            **self._settings(),
            truth=f'foreground where the soft mask is > {TRUTH_THRESHOLD}',
            size='scored at the original size; the model resizes its prediction',
            measures={name: MEASURES[name].definition for name in self.measures},
            implementation=IMPLEMENTATION,
        )

    def _settings(self) -> dict:
        return dict(protocol=self.protocol_name, **self.protocol)


def mean_losses(losses: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the means over images of their losses, and 'val_loss', the sum of the means."""
    if not losses or not all(losses):
        return {}
    means = {f'val_{name}': float(np.mean([image[name] for image in losses])) for name in losses[0]}
    return {'val_loss': sum(means.values()), **means}


def _ground_truth(sample: Mapping, path: str) -> np.ndarray:
    """Returns bool [H, W]: soft mask above 0.5, or the hard label of stock pipelines."""
    key = 'gt_alpha' if 'gt_alpha' in sample else 'gt_sem_seg'
    if key not in sample:
        raise ValueError(
            f"the data sample of '{path}' has neither 'gt_alpha' nor 'gt_sem_seg': add "
            'LoadDISAnnotations to the test pipeline'
        )
    field = sample[key]
    gt = (field['data'] if isinstance(field, Mapping) else field.data)[0].cpu().numpy()
    if key == 'gt_sem_seg' and not np.isin(gt, (0, 1)).all():
        raise ValueError(
            f"'gt_sem_seg' of '{path}' holds {np.unique(gt).tolist()[:8]}, expected 0 and 1: load "
            'the mask with LoadDISAnnotations'
        )
    return gt > TRUTH_THRESHOLD
