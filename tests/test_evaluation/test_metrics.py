"""Every measure against PySODMetrics, or against a second, plain implementation."""

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


def by_the_library(prediction: np.ndarray, truth: np.ndarray, normalize: bool = False) -> dict:
    """What PySODMetrics says, under this project's names."""
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
    for each in classes.values():
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # means of empty regions
            each.step(prediction, truth, normalize=normalize)
        results |= each.get_results()
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


def by_erosion(found: np.ndarray, truth: np.ndarray) -> float:
    """Boundary IoU by repeated erosion, as the paper's figure shows it."""
    width = max(1, int(round(0.02 * (truth.shape[0] ** 2 + truth.shape[1] ** 2) ** 0.5)))
    rings = []
    for mask in (found, truth):
        padded = np.pad(mask, 1).astype(np.uint8)
        for _ in range(width):
            padded = cv2.erode(padded, np.ones((3, 3), np.uint8))
        rings.append(mask & (padded[1:-1, 1:-1] == 0))
    union = np.logical_or(*rings).sum()
    return np.logical_and(*rings).sum() / union if union else 0.0


def blobs(rng: np.random.Generator, shape: tuple[int, int], sigma: float = 2.0) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.random(shape), (0, 0), sigma)
    return noise > 0.5


def near(rng: np.random.Generator, truth: np.ndarray) -> np.ndarray:
    """A soft prediction that resembles the truth, in 8 bits."""
    moved = np.roll(cv2.GaussianBlur(truth.astype(float), (0, 0), 1.5), 1, axis=0)
    return np.rint(np.clip(0.8 * moved + rng.normal(0.1, 0.1, truth.shape), 0, 1) * 255) / 255


def assert_equal(prediction: np.ndarray, truth: np.ndarray) -> None:
    """All measures agree; where PySODMetrics' S is NaN, ours must be a number."""
    ours = measure_image(prediction, truth, list(MEASURES))
    theirs = by_the_library(prediction, truth)
    theirs['BIoU'] = by_erosion(prediction > 0.5, truth)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        if name == 'S' and np.isnan(expected):
            assert 0 <= ours['S'] <= 1 + TOLERANCE
            continue
        # relative only for images of one pixel, whose E-measure divides by 2e-16
        np.testing.assert_allclose(
            ours[name], expected, atol=TOLERANCE, rtol=1e-9, equal_nan=False, err_msg=name
        )


def test_preset_is_what_the_library_does_by_itself():
    rng = np.random.default_rng(0)
    for truth in (blobs(rng, (50, 61)), np.ones((9, 8), bool)):
        grey = np.rint(near(rng, truth) * 200 + 20).astype(np.uint8)
        prediction = apply_protocol(grey / 255, **PROTOCOLS['pysodmetrics'])
        ours = measure_image(prediction, truth, list(MEASURES))
        theirs = by_the_library(grey, np.uint8(truth) * 255, normalize=True)
        for name, expected in theirs.items():
            np.testing.assert_allclose(ours[name], expected, atol=TOLERANCE, err_msg=name)


SHAPES = [(1, 1), (1, 9), (7, 1), (2, 2), (5, 8), (33, 20), (64, 64), (41, 128), (128, 37)]


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_random_masks_of_all_shapes(shape):
    rng = np.random.default_rng(shape)
    for share in (0.03, 0.5, 0.9):
        truth = rng.random(shape) < share
        assert_equal(rng.random(shape), truth)
        assert_equal(near(rng, truth), truth)
        assert_equal((rng.random(shape) > 0.5).astype(float), truth)


@pytest.mark.parametrize('seed', range(12))
def test_objects(seed):
    rng = np.random.default_rng(seed)
    truth = blobs(rng, (90, 77), sigma=1 + seed % 5)
    assert_equal(near(rng, truth), truth)
    assert_equal(np.roll(truth, (1, -2), (0, 1)).astype(float), truth)
    assert_equal(near(rng, blobs(rng, (90, 77))), truth)


@pytest.mark.parametrize('truth', ['empty', 'full'])
@pytest.mark.parametrize('level', [0.0, 1 / 255, 77 / 255, 0.5, 1.0])
def test_constant_predictions_of_empty_and_full_truths(truth, level):
    truth = np.full((13, 18), truth == 'full')
    assert_equal(np.full(truth.shape, level), truth)


@pytest.mark.parametrize('pixel', [(0, 0), (0, 11), (6, 4), (8, 0), (8, 11)])
@pytest.mark.parametrize('value', [True, False])
def test_one_pixel(pixel, value):
    truth = np.full((9, 12), not value)
    truth[pixel] = value
    rng = np.random.default_rng(0)
    assert_equal(rng.random(truth.shape), truth)
    assert_equal(truth.astype(float), truth)
    assert_equal(np.full(truth.shape, 3 / 255), truth)


@pytest.mark.parametrize('level', [k / 255 for k in range(0, 256, 17)])
def test_constant_background_beside_an_object(level):
    """A region without truth: whether a constant counts as even hangs on its mean's rounding."""
    truth = np.zeros((40, 52), bool)
    truth[3:8, 4:9] = True
    assert_equal(np.where(truth, 0.9, level), truth)


def test_prediction_with_values_at_the_adaptive_threshold():
    """Twice the mean of these is a level that occurs."""
    prediction = np.array([[0, 0, 0.2, 0.2], [0.4, 0.4, 0.2, 0.2]])
    truth = np.array([[0, 0, 0, 1], [1, 1, 0, 1]], bool)
    assert 2 * prediction.mean() == 0.4
    assert_equal(prediction, truth)


def test_memory_order_and_type_do_not_matter():
    rng = np.random.default_rng(3)
    truth = blobs(rng, (30, 44))
    prediction = near(rng, truth)
    expected = measure_image(prediction, truth, ['wF', 'S', 'HCE', 'BIoU', 'E'])
    found = measure_image(np.asfortranarray(prediction), truth.T.copy().T, list(expected))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('width', [64, 128])
def test_rows_that_are_a_power_of_two_apart(width):
    rng = np.random.default_rng(width)
    truth = np.zeros((50, width), bool)
    truth[20:30, -3:] = True
    assert_equal(rng.random(truth.shape), truth)


def test_ties_between_nearest_pixels_are_broken_as_in_scipy():
    """All pixels between the dots are as far from one as from another."""
    truth = np.zeros((31, 31), bool)
    truth[::4, ::4] = truth[2::4, 2::4] = True
    rng = np.random.default_rng(0)
    assert_equal(rng.random(truth.shape), truth)


def test_histogram_of_more_pixels_than_float32_can_count():
    truth = np.zeros((3, 2**24 // 2 + 1), bool)
    levels = histograms(np.zeros(truth.shape), truth)
    assert levels[1, 0] == truth.size and levels.sum() == truth.size


def test_precision_and_recall_curves():
    rng = np.random.default_rng(0)
    truth = blobs(rng, (40, 50))
    prediction = near(rng, truth)
    with pytest.warns(UserWarning, match='removed'):
        theirs = library.sod_metrics.Fmeasure()
    theirs.step(prediction, truth, normalize=False)
    expected = theirs.get_results()['pr']
    counts = threshold_counts(histograms(prediction, truth))
    np.testing.assert_allclose(precision(counts), expected['p'], atol=1e-12)
    np.testing.assert_allclose(recall(counts), expected['r'], atol=1e-12)


@pytest.mark.parametrize('seed', range(30))
def test_skeleton_is_scikit_images(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 80, 2))
    mask = rng.random(shape) < 0.8 if seed % 2 else blobs(rng, shape, 3)
    mask[: shape[0] // 3] |= seed % 3 == 0  # something thick, at the border
    np.testing.assert_array_equal(skeletonize(mask), morphology.skeletonize(mask))


def test_skeletons_of_all_neighbourhoods():
    """Every 3x3 pattern, and some around it."""
    for code in range(512):
        mask = np.zeros((7, 7), bool)
        mask[2:5, 2:5] = (code >> np.arange(9)).reshape(3, 3) & 1
        for grown in (mask, mask | np.roll(mask, 1, 0), mask | np.roll(mask, 1, 1)):
            np.testing.assert_array_equal(skeletonize(grown), morphology.skeletonize(grown))


def test_perfect_prediction_is_the_best_of_each_measure():
    rng = np.random.default_rng(0)
    truth = blobs(rng, (200, 210), 6)
    perfect = measure_image(truth.astype(float), truth, list(MEASURES))
    poor = measure_image(rng.random(truth.shape), truth, list(MEASURES))
    for name, value in summarise([perfect], list(MEASURES)).items():
        assert value == pytest.approx(float(name not in LOWER_IS_BETTER), abs=1e-2), name
        other = np.max(poor[name])
        assert value <= other if name in LOWER_IS_BETTER else value >= other


def test_f_measure_by_hand():
    counts = Counts(tp=6, fp=2, fn=6, tn=10)  # precision 3/4, recall 1/2
    assert f_measure(counts) == pytest.approx(1.3 * 0.75 * 0.5 / (0.3 * 0.75 + 0.5))
    assert (counts.foreground, counts.size) == (12, 24)


def test_order_and_choice_of_measures():
    truth = np.eye(9, dtype=bool)
    some = ['HCE', 'maxF', 'S']
    values = measure_image(truth.astype(float), truth, some)
    assert list(values) == some
    assert isinstance(values['HCE'], float) and values['maxF'].shape == (256,)


def test_set_takes_the_mean_of_curves_before_the_maximum():
    rows = [{'maxF': np.array([1.0, 0.2]), 'MAE': 0.1}, {'maxF': np.array([0.0, 0.4]), 'MAE': 0.3}]
    assert summarise(rows, ['maxF', 'MAE']) == pytest.approx({'maxF': 0.5, 'MAE': 0.2})


def test_what_is_kept_of_a_set_does_not_grow():
    scores = Scores()
    for _ in range(5):
        scores.add({'maxF': np.ones(256), 'MAE': 0.5})
    assert scores.images == 5 and scores.figures() == {'maxF': 1, 'MAE': 0.5}
    assert sum(np.size(total) for total in scores._sums.values()) == 257


def test_unknown_measures():
    assert check_measures(('S', 'HCE')) == ['S', 'HCE'] and set(CURVES) < set(MEASURES)
    for names in (['F1'], []):
        with pytest.raises(ValueError, match=r'`measures` is .*expected names out of'):
            check_measures(names)
