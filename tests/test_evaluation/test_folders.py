"""mmdiffdis.evaluation.folders: reading, scoring, resuming, worker processes."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from mmdiffdis.evaluation import MEASURES
from mmdiffdis.evaluation.folders import (
    Settings,
    Store,
    load_prediction,
    pair_masks,
    read_prediction,
    score_folder,
    score_pairs,
    score_set,
)
from mmdiffdis.evaluation.report import save_worst


@pytest.fixture
def pairs(tmp_path, draw_pair):
    for folder in ('masks', 'gt'):
        (tmp_path / folder).mkdir()
    for seed in range(4):
        _, gt = draw_pair(seed)
        Image.fromarray(gt).save(tmp_path / 'gt' / f'{seed}.png')
        noisy = np.clip(gt + np.random.default_rng(seed).normal(0, 40, gt.shape), 0, 255)
        Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / 'masks' / f'{seed}.png')
    pairs, problems = pair_masks(tmp_path / 'masks', tmp_path / 'gt')
    assert len(pairs) == 4 and not problems
    return pairs


def test_worker_processes_give_the_same(pairs):
    settings, threads = Settings('soft', tuple(MEASURES)), cv2.getNumThreads()
    expected = dict(score_pairs(pairs, settings, 1))
    results = dict(score_pairs(pairs, settings, 2))
    cv2.setNumThreads(threads)
    assert set(results) == set(expected) == set(pairs)
    for pair, (scores, levels) in results.items():
        assert scores == expected[pair][0]
        np.testing.assert_array_equal(levels, expected[pair][1])


@pytest.mark.parametrize('name', ['per_image.csv', 'histograms.csv'])
@pytest.mark.parametrize('cut', [1, 20, 150])
def test_line_cut_off_by_a_kill_is_scored_again(pairs, tmp_path, name, cut):
    settings = Settings('soft', tuple(MEASURES))

    def score():
        store = Store(tmp_path / 'out', settings)
        assert score_folder(pairs, settings, store, workers=1) == []
        lines = (tmp_path / 'out' / 'per_image.csv').read_text().splitlines()
        return score_set(store)[0], sorted(lines)

    scores, lines = score()
    path = tmp_path / 'out' / name
    path.write_bytes(path.read_bytes()[:-cut])
    scores_again, lines_again = score()
    assert scores_again == pytest.approx(scores) and lines_again == lines


def test_lines_of_another_process_are_not_counted_twice(pairs, tmp_path):
    settings = Settings('soft', tuple(MEASURES))
    store = Store(tmp_path / 'out', settings)
    assert score_folder(pairs, settings, store, workers=1) == []
    expected = score_set(store)[0]
    path = tmp_path / 'out' / 'histograms.csv'
    first, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(first + 2 * lines[0] + ''.join(lines) + lines[1].replace('1,', 'other,', 1))
    assert score_set(store)[0] == expected


def test_no_more_processes_than_images(pairs, monkeypatch):
    started = []
    monkeypatch.setattr(
        'mmdiffdis.evaluation.folders.process_pool',
        lambda workers: started.append(workers) or ThreadPoolExecutor(1),
    )
    assert len(list(score_pairs(pairs, Settings('soft', ('MAE',)), 96))) == 4
    assert started == [4]


def test_rows_that_do_not_fit_into_a_jpeg_go_to_further_files(pairs, tmp_path):
    settings = Settings('soft', ('MAE',))
    store = Store(tmp_path / 'out', settings)
    assert score_folder(pairs, settings, store, workers=1) == []
    gt = Image.new('L', (4, 56), 255)  # rows of the greatest height
    for path in (pairs[0].prediction, pairs[0].gt):
        gt.save(path)
    assert save_worst(pairs[:1] * 300, store, settings, images=None, count=300) == []
    heights = [Image.open(tmp_path / 'out' / f'worst{n}.jpg').size[1] for n in ('', '_2')]
    assert heights[0] == heights[1] == 150 * (320 + 26 + 8)
    save_worst(pairs, store, settings, images=None, count=1)
    assert [path.name for path in (tmp_path / 'out').glob('*.jpg')] == ['worst.jpg']


def test_mask_whose_header_has_another_size_can_be_scored_as_empty(pairs, tmp_path):
    Image.new('L', (5, 6), 255).save(pairs[0].prediction)
    with pytest.raises(ValueError, match=r'0\.png: its size differs from that in its header'):
        load_prediction(pairs[0], (40, 56), Settings('soft', ('MAE',)))
    settings = Settings('soft', ('MAE',), missing='empty')
    store = Store(tmp_path / 'out', settings)
    assert score_folder(pairs, settings, store, workers=1) == []
    gt = np.asarray(Image.open(pairs[0].gt)) > 127
    assert store.values['0']['MAE'] == gt.mean()
    save_worst(pairs, store, settings, images=None, count=4)
    assert Image.open(tmp_path / 'out' / 'worst.jpg').size[0] > 320


def test_full_scale_does_not_apply_to_boolean_and_floating_point_masks(tmp_path):
    """Some programs write them beside grey masks, whose white `--full-scale` sets."""
    mask = np.array([[True, False]])
    Image.fromarray(mask).save(tmp_path / 'bool.png')
    Image.fromarray(mask.astype(np.float32)).save(tmp_path / 'float.tif')
    for name in ('bool.png', 'float.tif'):
        assert read_prediction(tmp_path / name, 255).tolist() == [[1, 0]]


def test_sixteen_bit_and_boolean_masks(tmp_path):
    levels = np.array([[0, 32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / 'deep.png')
    np.testing.assert_allclose(read_prediction(tmp_path / 'deep.png', None), levels / 65535)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / 'bool.png')
    assert read_prediction(tmp_path / 'bool.png', None).tolist() == [[1, 0]]
