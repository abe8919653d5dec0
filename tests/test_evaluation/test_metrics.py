"""All metrics against PySODMetrics, or against a second, plain implementation."""

import warnings

import cv2
import numpy as np
import py_sod_metrics as library
import pytest
from skimage import morphology

from mmdiffdis.evaluation import (
    MEASURES,
    PROTOCOLS,
    Scores,
    apply_protocol,
    check_measures,
    measure_image,
    summarise,
)
from mmdiffdis.evaluation.counts import Counts, histograms, threshold_counts
from mmdiffdis.evaluation.metrics import LOWER_IS_BETTER
from mmdiffdis.evaluation.overlap import f_measure, precision, recall
from mmdiffdis.evaluation.skeleton import skeletonize

TOLERANCE = 1e-6


def library_scores(prediction: np.ndarray, gt: np.ndarray, normalize: bool = False) -> dict:
    """Scores of PySODMetrics, by our names."""
    handlers = {
        'F': library.FmeasureHandler(True, True, beta=0.3),
        'IoU': library.IOUHandler(False, False, with_binary=True),
        'Dice': library.DICEHandler(False, False, with_binary=True),
        'BER': library.BERHandler(False, False, with_binary=True),
        'Acc': library.OverallAccuracyHandler(False, False, with_binary=True),
    }
    classes = {
        'f': library.FmeasureV2(handlers),
        'em': library.Emeasure(),
        'wfm': library.WeightedFmeasure(beta=1),
        'sm': library.Smeasure(alpha=0.5),
        'mae': library.MAE(),
        'hce': library.HumanCorrectionEffortMeasure(relax=5, epsilon=2.0),
    }
    results = {}
    for metric in classes.values():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # means of empty regions
            metric.step(prediction, gt, normalize=normalize)
        results |= metric.get_results()
    f, e = results['F'], results['em']
    return {
        'maxF': f['dynamic'],
        'meanF': f['dynamic'].mean(),
        'adpF': f['adaptive'],
        'maxE': e['curve'],
        'E': e['curve'].mean(),
        'adpE': e['adp'],
        'wF': results['wfm'],
        'S': results['sm'],
        'MAE': results['mae'],
        'HCE': results['hce'],
        **{name: results[name]['binary'] for name in ('IoU', 'Dice', 'BER', 'Acc')},
    }


def boundary_iou_by_erosion(found: np.ndarray, gt: np.ndarray) -> float:
    """Boundary IoU by repeated erosion, as in the figure of its paper."""
    width = max(1, int(round(0.02 * (gt.shape[0] ** 2 + gt.shape[1] ** 2) ** 0.5)))
    rings = []
    for mask in (found, gt):
        padded = np.pad(mask, 1).astype(np.uint8)
        for _ in range(width):
            padded = cv2.erode(padded, np.ones((3, 3), np.uint8))
        rings.append(mask & (padded[1:-1, 1:-1] == 0))
    union = np.logical_or(*rings).sum()
    return np.logical_and(*rings).sum() / union if union else 0.0


def blobs(rng: np.random.Generator, shape: tuple[int, int], sigma: float = 2.0) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.random(shape), (0, 0), sigma)
    return noise > 0.5


def noisy_prediction(rng: np.random.Generator, gt: np.ndarray) -> np.ndarray:
    """A soft prediction close to the ground truth, in 8 bits."""
    moved = np.roll(cv2.GaussianBlur(gt.astype(float), (0, 0), 1.5), 1, axis=0)
    return np.rint(np.clip(0.8 * moved + rng.normal(0.1, 0.1, gt.shape), 0, 1) * 255) / 255


def assert_equals_library(prediction: np.ndarray, gt: np.ndarray) -> None:
    """All metrics agree; where PySODMetrics' S is NaN, ours must be a number."""
    ours = measure_image(prediction, gt, list(MEASURES))
    library_values = library_scores(prediction, gt)
    library_values['BIoU'] = boundary_iou_by_erosion(prediction > 0.5, gt)
    assert set(ours) == set(library_values)
    for name, expected in library_values.items():
        if name == 'S' and np.isnan(expected):
            assert 0 <= ours['S'] <= 1 + TOLERANCE
            continue
        # relative only for images of one pixel, whose E-measure divides by 2e-16
        np.testing.assert_allclose(
            ours[name], expected, atol=TOLERANCE, rtol=1e-9, equal_nan=False, err_msg=name
        )


def test_pysodmetrics_preset_equals_the_librarys_default():
    rng = np.random.default_rng(0)
    for gt in (blobs(rng, (50, 61)), np.ones((9, 8), bool)):
        grey = np.rint(noisy_prediction(rng, gt) * 200 + 20).astype(np.uint8)
        prediction = apply_protocol(grey / 255, **PROTOCOLS['pysodmetrics'])
        ours = measure_image(prediction, gt, list(MEASURES))
        library_values = library_scores(grey, np.uint8(gt) * 255, normalize=True)
        for name, expected in library_values.items():
            np.testing.assert_allclose(ours[name], expected, atol=TOLERANCE, err_msg=name)


SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 8), (33, 20), (64, 64), (41, 128), (128, 37)]


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_random_masks_of_all_shapes(shape):
    rng = np.random.default_rng(shape)
    for share in (0.03, 0.5, 0.9):
        gt = rng.random(shape) < share
        assert_equals_library(rng.random(shape), gt)
        assert_equals_library(noisy_prediction(rng, gt), gt)
        assert_equals_library((rng.random(shape) > 0.5).astype(float), gt)


@pytest.mark.parametrize('seed', range(12))
def test_objects(seed):
    rng = np.random.default_rng(seed)
    gt = blobs(rng, (90, 77), sigma=1 + seed % 5)
    assert_equals_library(noisy_prediction(rng, gt), gt)
    assert_equals_library(np.roll(gt, (1, -2), (0, 1)).astype(float), gt)
    assert_equals_library(noisy_prediction(rng, blobs(rng, (90, 77))), gt)


@pytest.mark.parametrize('gt', ['empty', 'full'])
@pytest.mark.parametrize('level', [0.0, 1 / 255, 77 / 255, 0.5, 1.0])
def test_constant_predictions_of_empty_and_full_ground_truths(gt, level):
    gt = np.full((13, 18), gt == 'full')
    assert_equals_library(np.full(gt.shape, level), gt)


@pytest.mark.parametrize('pixel', [(0, 0), (0, 11), (6, 4), (8, 0), (8, 11)])
@pytest.mark.parametrize('value', [True, False])
def test_one_pixel(pixel, value):
    gt = np.full((9, 12), not value)
    gt[pixel] = value
    rng = np.random.default_rng(0)
    assert_equals_library(rng.random(gt.shape), gt)
    assert_equals_library(gt.astype(float), gt)
    assert_equals_library(np.full(gt.shape, 3 / 255), gt)


@pytest.mark.parametrize('level', [k / 255 for k in range(0, 256, 17)])
def test_constant_background_beside_an_object(level):
    """In a region without foreground, S depends on the rounding of a constant's mean."""
    gt = np.zeros((40, 52), bool)
    gt[3:8, 4:9] = True
    assert_equals_library(np.where(gt, 0.9, level), gt)


def test_prediction_with_values_at_the_adaptive_threshold():
    """Twice the mean is one of the values."""
    prediction = np.array([[0, 0, 0.2, 0.2], [0.4, 0.4, 0.2, 0.2]])
    gt = np.array([[0, 0, 0, 1], [1, 1, 0, 1]], bool)
    assert 2 * prediction.mean() == 0.4
    assert_equals_library(prediction, gt)


def test_memory_order_and_type_do_not_matter():
    rng = np.random.default_rng(3)
    gt = blobs(rng, (30, 44))
    prediction = noisy_prediction(rng, gt)
    expected = measure_image(prediction, gt, ['wF', 'S', 'HCE', 'BIoU', 'E'])
    scores = measure_image(np.asfortranarray(prediction), gt.T.copy().T, list(expected))
    assert scores == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('width', [64, 128])
def test_widths_that_are_powers_of_two(width):
    rng = np.random.default_rng(width)
    gt = np.zeros((50, width), bool)
    gt[20:30, -3:] = True
    assert_equals_library(rng.random(gt.shape), gt)


def test_equally_near_pixels_are_chosen_as_in_scipy():
    """All pixels between the dots are equally far from several dots."""
    gt = np.zeros((31, 31), bool)
    gt[::4, ::4] = gt[2::4, 2::4] = True
    rng = np.random.default_rng(0)
    assert_equals_library(rng.random(gt.shape), gt)


def test_histogram_of_more_pixels_than_float32_can_count():
    gt = np.zeros((3, 2**24 // 2 + 1), bool)
    levels = histograms(np.zeros(gt.shape), gt)
    assert levels[1, 0] == gt.size and levels.sum() == gt.size


def test_precision_and_recall_curves():
    rng = np.random.default_rng(0)
    gt = blobs(rng, (40, 50))
    prediction = noisy_prediction(rng, gt)
    with pytest.warns(UserWarning, match='removed'):
        library_values = library.sod_metrics.Fmeasure()
    library_values.step(prediction, gt, normalize=False)
    expected = library_values.get_results()['pr']
    counts = threshold_counts(histograms(prediction, gt))
    np.testing.assert_allclose(precision(counts), expected['p'], atol=1e-12)
    np.testing.assert_allclose(recall(counts), expected['r'], atol=1e-12)


@pytest.mark.parametrize('seed', range(30))
def test_skeleton_equals_scikit_image(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 80, 2))
    mask = rng.random(shape) < 0.8 if seed % 2 else blobs(rng, shape, 3)
    mask[: shape[0] // 3] |= seed % 3 == 0  # a thick region at the border
    np.testing.assert_array_equal(skeletonize(mask), morphology.skeletonize(mask))


def test_skeletons_of_all_neighbourhoods():
    """Every 3x3 pattern, and its combinations with shifted copies."""
    for code in range(512):
        mask = np.zeros((7, 7), bool)
        mask[2:5, 2:5] = (code >> np.arange(9)).reshape(3, 3) & 1
        for pattern in (mask, mask | np.roll(mask, 1, 0), mask | np.roll(mask, 1, 1)):
            np.testing.assert_array_equal(skeletonize(pattern), morphology.skeletonize(pattern))


def test_perfect_prediction_has_the_best_score_of_each_metric():
    rng = np.random.default_rng(0)
    gt = blobs(rng, (200, 210), 6)
    perfect = measure_image(gt.astype(float), gt, list(MEASURES))
    poor = measure_image(rng.random(gt.shape), gt, list(MEASURES))
    for name, value in summarise([perfect], list(MEASURES)).items():
        assert value == pytest.approx(float(name not in LOWER_IS_BETTER), abs=1e-2), name
        other = np.max(poor[name])
        assert value <= other if name in LOWER_IS_BETTER else value >= other


def test_f_measure_by_hand():
    counts = Counts(tp=6, fp=2, fn=6, tn=10)  # precision 3/4, recall 1/2
    assert f_measure(counts) == pytest.approx(1.3 * 0.75 * 0.5 / (0.3 * 0.75 + 0.5))
    assert (counts.foreground, counts.size) == (12, 24)


def test_order_and_choice_of_metrics():
    gt = np.eye(9, dtype=bool)
    names = ['HCE', 'maxF', 'S']
    values = measure_image(gt.astype(float), gt, names)
    assert list(values) == names
    assert isinstance(values['HCE'], float) and values['maxF'].shape == (256,)


def test_mean_of_curves_comes_before_the_maximum():
    rows = [{'maxF': np.array([1.0, 0.2]), 'MAE': 0.1}, {'maxF': np.array([0.0, 0.4]), 'MAE': 0.3}]
    assert summarise(rows, ['maxF', 'MAE']) == pytest.approx({'maxF': 0.5, 'MAE': 0.2})


def test_memory_of_scores_does_not_grow():
    scores = Scores()
    for _ in range(5):
        scores.add({'maxF': np.ones(256), 'MAE': 0.5})
    assert scores.images == 5 and scores.compute() == {'maxF': 1, 'MAE': 0.5}
    assert sum(np.size(total) for total in scores._sums.values()) == 257


def test_unknown_metrics():
    assert check_measures(('S', 'HCE')) == ['S', 'HCE']
    for names in (['F1'], []):
        with pytest.raises(ValueError, match=r'measures=.*: expected names from'):
            check_measures(names)
