"""DISMetric against small formulas and against PySODMetrics itself."""

import json
import logging

import numpy as np
import py_sod_metrics
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample

from mmdiffdis.evaluation import MEASURES, DISMetric, apply_protocol, dis_metric


def make_sample(seed: int, subset: str = '', shape: tuple[int, int] = (24, 30)) -> dict:
    """A soft ground truth and a prediction close to it, as a metric receives them."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(rows - shape[0] / 2 + rng.normal(), columns - shape[1] / 2)
    gt = np.clip((8 - distance) / 3, 0, 1)
    prediction = np.clip(0.75 * gt + rng.normal(0.1, 0.08, shape), 0.02, 0.9)
    sample = SegDataSample(
        gt_alpha=PixelData(data=torch.tensor(gt[None], dtype=torch.float32)),
        seg_logits=PixelData(data=torch.tensor(prediction[None], dtype=torch.float32)),
        metainfo={'img_path': f'{seed}.jpg', 'subset': subset},
    )
    return sample.to_dict()


def arrays(sample: dict) -> tuple[np.ndarray, np.ndarray]:
    prediction = sample['seg_logits']['data'][0].double().numpy()
    return prediction, sample['gt_alpha']['data'][0].numpy() > 0.5


def evaluate(samples: list[dict], **options) -> dict[str, float]:
    metric = DISMetric(**options)
    for sample in samples:
        metric.process(None, [sample])
    return metric.evaluate(len(samples))


def mean_over(samples: list[dict], prepare, metric) -> np.ndarray:
    values = []
    for sample in samples:
        prediction, gt = arrays(sample)
        values.append(metric(prepare(prediction), gt))
    return np.mean(values, axis=0)


def f_curve(prediction: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """F-measure (beta^2 = 0.3) at the 256 thresholds, by counting."""
    curve = []
    for threshold in range(256):
        found = np.rint(prediction * 255) >= threshold
        hits = (found & gt).sum()
        precision, recall = hits / max(found.sum(), 1), hits / gt.sum()
        curve.append(1.3 * precision * recall / max(0.3 * precision + recall, 1e-20))
    return np.array(curve)


def to_8_bits(prediction: np.ndarray) -> np.ndarray:
    return np.rint(prediction * 255) / 255


def stretched_and_binarised(prediction: np.ndarray) -> np.ndarray:
    prediction = to_8_bits(prediction)
    low, high = prediction.min(), prediction.max()
    return ((prediction - low) / (high - low) > 0.5).astype(float)


PREPARE = {'soft': to_8_bits, 'diffdis': stretched_and_binarised}


@pytest.fixture
def samples() -> list[dict]:
    return [make_sample(seed) for seed in range(3)]


@pytest.mark.parametrize('protocol', PREPARE)
def test_mae_and_maxf_against_counting(samples, protocol):
    scores = evaluate(samples, protocol=protocol)
    prepare = PREPARE[protocol]
    mae = mean_over(samples, prepare, lambda p, t: np.abs(p - t).mean())
    assert scores['MAE'] == pytest.approx(mae, abs=1e-12)
    assert scores['maxF'] == pytest.approx(mean_over(samples, prepare, f_curve).max(), abs=1e-9)


@pytest.mark.parametrize('protocol', PREPARE)
def test_metrics_against_pysodmetrics(samples, protocol):
    """Its classes accumulate over the set, as in evaluation scripts."""
    reference = {
        'wF': py_sod_metrics.WeightedFmeasure(),
        'S': py_sod_metrics.Smeasure(),
        'E': py_sod_metrics.Emeasure(),
        'MAE': py_sod_metrics.MAE(),
    }
    for sample in samples:
        prediction, gt = arrays(sample)
        for metric in reference.values():
            metric.step(PREPARE[protocol](prediction), gt, normalize=False)
    e_measure = reference['E'].get_results()['em']
    expected = {
        'wF': reference['wF'].get_results()['wfm'],
        'S': reference['S'].get_results()['sm'],
        'E': e_measure['curve'].mean(),
        'maxE': e_measure['curve'].max(),
        'adpE': e_measure['adp'],
        'MAE': reference['MAE'].get_results()['mae'],
    }
    scores = evaluate(samples, protocol=protocol, measures=list(expected))
    assert scores == pytest.approx(expected, abs=1e-12)


def test_default_protocol_does_not_stretch(samples):
    """PySODMetrics stretches every prediction by default."""
    library = py_sod_metrics.MAE()
    for sample in samples:
        prediction, gt = arrays(sample)
        library.step(np.rint(prediction * 255).astype(np.uint8), gt.astype(np.uint8) * 255)
    expected = library.get_results()['mae']
    assert evaluate(samples)['MAE'] != pytest.approx(expected, abs=1e-3)
    assert evaluate(samples, protocol={'min_max': True})['MAE'] == pytest.approx(
        expected, abs=1e-12
    )


def test_perfect_prediction():
    sample = make_sample(0)
    sample['seg_logits']['data'] = (sample['gt_alpha']['data'] > 0.5).float()
    scores = evaluate([sample])
    assert scores['MAE'] == 0 and scores['maxF'] == pytest.approx(1)
    assert scores['wF'] == pytest.approx(1) and scores['S'] == pytest.approx(1, abs=1e-6)


def test_without_quantisation_the_map_does_not_change(samples):
    scores = evaluate(samples, protocol={'quantise': False})
    mae = mean_over(samples, lambda p: p, lambda p, t: np.abs(p - t).mean())
    assert scores['MAE'] == pytest.approx(mae, abs=1e-9)


@pytest.mark.parametrize('level', [0.0, 0.3, 0.7, 1.0])
def test_constant_prediction_is_not_stretched(level):
    constant = np.full((2, 2), level)
    result = apply_protocol(constant, quantise=True, min_max=True, binarise=0.5)
    np.testing.assert_array_equal(result, np.full((2, 2), float(level > 0.5)))


def test_ground_truth_without_foreground_scores_zero_f():
    sample = make_sample(0)
    sample['gt_alpha']['data'].zero_()
    sample['seg_logits']['data'].zero_()
    scores = evaluate([sample], measures=list(MEASURES))
    assert scores['maxF'] == scores['wF'] == scores['MAE'] == 0
    assert scores['S'] == 1 and np.isfinite(list(scores.values())).all()


def test_two_classes_and_hard_labels_of_stock_pipelines():
    sample = make_sample(1)
    probability = sample['seg_logits']['data']
    stock = dict(sample)
    del stock['gt_alpha']
    stock['gt_sem_seg'] = {'data': (sample['gt_alpha']['data'] > 0.5).long()}
    logits = torch.cat([torch.zeros_like(probability), torch.logit(probability)])
    stock['seg_logits'] = {'data': logits}
    assert evaluate([stock]) == pytest.approx(evaluate([sample]), abs=2e-3)


def test_scores_per_subset_and_overall():
    samples = [make_sample(seed, 'DIS-TE1' if seed < 2 else 'DIS-TE2') for seed in range(5)]
    scores = evaluate(samples, measures=['maxF', 'MAE'])
    assert set(scores) == {
        *('maxF', 'MAE', 'DIS-TE1/maxF', 'DIS-TE1/MAE', 'DIS-TE2/maxF', 'DIS-TE2/MAE')
    }
    first = evaluate(samples[:2], measures=['maxF', 'MAE'])
    assert first == {'maxF': scores['DIS-TE1/maxF'], 'MAE': scores['DIS-TE1/MAE']}
    weighted = (2 * scores['DIS-TE1/MAE'] + 3 * scores['DIS-TE2/MAE']) / 5
    assert scores['MAE'] == pytest.approx(weighted)


def test_names_are_plain_without_prefix_and_prefixed_with_one(samples):
    assert set(evaluate(samples)) == {'maxF', 'wF', 'E', 'S', 'MAE'}
    assert set(evaluate(samples, prefix='val', measures=['MAE'])) == {'val/MAE'}


def test_padded_samples_are_dropped(samples):
    """With several processes, samplers repeat images to pad the set; MMEngine drops them."""
    metric = DISMetric()
    for sample in [*samples, samples[0]]:
        metric.process(None, [sample])
    assert metric.evaluate(len(samples)) == evaluate(samples)


def test_only_small_numbers_are_kept(samples):
    metric = DISMetric(measures=list(MEASURES))
    metric.process(None, samples)
    assert len(metric.results) == 3
    for _, values, *_ in metric.results:
        assert all(np.size(value) <= 256 for value in values.values())


def test_record_of_the_protocol(samples):
    record = DISMetric(protocol='diffdis', measures=['maxF']).protocol_record()
    assert json.loads(json.dumps(record)) == record
    assert record['protocol'] == 'diffdis' and record['binarise'] == 0.5 and record['min_max']
    assert '0.5' in record['truth'] and list(record['measures']) == ['maxF']
    assert DISMetric(protocol={'binarise': 0.3}).protocol_record()['protocol'] == 'custom'


def test_table_is_logged(samples, capsys):
    from mmengine.logging import MMLogger

    MMLogger.get_instance('table', log_level=logging.INFO)
    evaluate([make_sample(0, 'DIS-VD')])
    printed = ''.join(capsys.readouterr())
    assert "protocol 'soft'" in printed and 'DIS-VD' in printed and 'maxF' in printed


def test_built_from_a_config():
    metric = METRICS.build({'type': 'DISMetric', 'protocol': 'diffdis'})
    assert metric.protocol == {'quantise': True, 'min_max': True, 'binarise': 0.5}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'protocol': 'hard'},
            r"protocol='hard': expected one of \['soft', 'binary', .*'diffdis'\]",
        ),
        ({'protocol': {'minmax': True}}, r"unknown key\(s\) \['minmax'\]"),
        ({'measures': ['F1']}, r"measures=\['F1'\]: expected names from"),
        ({'measures': []}, r'measures=\[\]: '),
    ],
)
def test_unknown_settings(options, message):
    with pytest.raises(ValueError, match=message):
        DISMetric(**options)


def test_prediction_of_another_size_names_both():
    sample = make_sample(0)
    sample['seg_logits']['data'] = torch.rand(1, 8, 8)
    with pytest.raises(ValueError, match=r"'0.jpg' is 8x8 pixels, its ground truth 30x24"):
        evaluate([sample])


def test_missing_ground_truth():
    sample = make_sample(0)
    del sample['gt_alpha']
    with pytest.raises(ValueError, match="neither 'gt_alpha' nor 'gt_sem_seg'"):
        evaluate([sample])


def test_hard_label_with_ignored_pixels():
    sample = make_sample(0)
    sample['gt_sem_seg'] = {'data': (sample.pop('gt_alpha')['data'] > 0.5).long() * 255}
    with pytest.raises(ValueError, match=r"'gt_sem_seg' of '0.jpg' holds \[0, 255\]"):
        evaluate([sample])


def test_ground_truths_without_foreground_are_counted(samples, monkeypatch):
    logged = []
    monkeypatch.setattr(dis_metric, 'print_log', lambda text, **_: logged.append(text))
    samples[1]['gt_alpha']['data'][:] = 0.4
    evaluate(samples)
    assert '1 ground truth(s) without foreground, for which maxF and wF are 0' in logged[0]
    header, row = (line.split('|') for line in logged[0].splitlines() if line.startswith('|'))
    assert header[3].strip() == 'empty' and row[3].strip() == '1'
