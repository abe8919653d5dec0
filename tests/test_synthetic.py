"""The synthetic set: reproducible, and suited to dichotomous image segmentation."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import load_tool

from mmdiffdis.synthetic import KINDS, SPLITS, draw_sample, photo, scene, write_dataset
from mmdiffdis.synthetic.strokes import (
    SUPERSAMPLE,
    arc,
    area_average,
    beside,
    bounds,
    box,
    cut,
    fill,
    line,
    place,
    project,
    rasterise,
    spline,
)


def read_files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for split in SPLITS
        for path in sorted((root / split).rglob('*.*'))
    }


@pytest.fixture(scope='module')
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp('set') / 'synthetic', 6, 3, 5, (64, 96), workers=1)


# --- geometry ---------------------------------------------------------------------------------


def test_area_average_of_a_quarter_covered_pixel_is_a_quarter():
    mask = np.zeros((SUPERSAMPLE, 2 * SUPERSAMPLE), bool)
    mask[: SUPERSAMPLE // 2, : SUPERSAMPLE // 2] = True
    np.testing.assert_allclose(area_average(mask), [[0.25, 0.0]], atol=1 / 255)


def test_rasterised_disc_has_the_area_of_a_disc():
    coverage = area_average(rasterise([fill(arc(32, 32, 20, samples=200))], 64, 64) > 0)
    assert coverage.sum() == pytest.approx(np.pi * 20**2, rel=0.02)


def test_cut_makes_a_hole_and_inside_paints_only_the_object():
    shape = [fill(box(8, 8, 56, 56)), cut(box(24, 24, 40, 40)), fill(box(0, 0, 64, 12), 3, True)]
    parts = rasterise(shape, 64, 64)
    at = lambda x, y: parts[y * SUPERSAMPLE, x * SUPERSAMPLE]  # noqa: E731
    assert at(32, 32) == 0  # the hole
    assert at(32, 10) == 3 and at(32, 50) == 1
    assert at(32, 4) == 0  # outside the object


def test_thin_lines_are_wide_enough_for_a_threshold():
    coverage = area_average(rasterise([line((4, 30.3), (60, 34.1), width=0.01)], 64, 64) > 0)
    assert (coverage > 0.5).any(axis=0)[6:58].all()


def test_spline_passes_through_its_points():
    knots = np.array([[0, 0], [1, 2], [3, 1], [4, 4.0]])
    curve = spline(knots)
    for knot in knots:
        assert np.linalg.norm(curve - knot, axis=1).min() < 1e-9


def test_projection_shrinks_distant_points():
    near, far = project(np.array([[1.0, 0, -1], [1, 0, 1]]), yaw=0, pitch=0, distance=4)
    np.testing.assert_allclose(near, [4 / 3, 0])
    np.testing.assert_allclose(far, [4 / 5, 0])


def test_place_fits_the_shape_into_the_image():
    square = [fill(box(100, 100, 300, 180))]
    for seed in range(20):
        low, high = bounds(
            place(square, np.random.default_rng(seed), 64, 128, np.pi, extent=(0.5, 0.9))
        )
        assert (low >= 0).all() and high[0] <= 128 and high[1] <= 64
        assert max((high - low) / [128, 64]) >= 0.499


def test_beside_keeps_both_shapes_and_renumbers_materials():
    shape = beside(
        [fill(box(0, 0, 1, 2), 2)],
        [fill(box(0, 0, 9, 9), 1), cut(arc(4, 4, 1))],
        np.random.default_rng(0),
    )
    assert [stroke.part for stroke in shape] == [2, 3, 0]
    assert bounds(shape)[1, 0] > 1.2


# --- one sample -------------------------------------------------------------------------------


def test_sample_depends_on_the_arguments_alone():
    first, again = (draw_sample(3, 'DIS-TR', 7, 64, 64) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    for arguments in [(4, 'DIS-TR', 7), (3, 'DIS-VD', 7), (3, 'DIS-TR', 8)]:
        assert not np.array_equal(draw_sample(*arguments, 64, 64).image, first.image), arguments


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_is_a_soft_mask_neither_empty_nor_full(kind: str):
    for seed in range(4):
        parts = scene.draw_parts(np.random.default_rng(seed), kind, 128, 128)
        coverage = area_average(parts > 0)
        assert 0.01 < coverage.mean() < 0.9
        grey = (coverage > 0.05) & (coverage < 0.95)
        assert grey.mean() > 0.002 and len(np.unique(coverage)) > 8
        assert (coverage > 0.5).mean() > 0.01


@pytest.mark.parametrize('kind', ['bicycle', 'plate', 'lattice', 'wheel', 'net', 'shopping cart'])
def test_kinds_with_holes_have_holes(kind: str):
    holes = []
    for seed in range(5):
        parts = scene.draw_parts(np.random.default_rng(seed), kind, 192, 192)
        count, _, stats, _ = cv2.connectedComponentsWithStats((parts == 0).astype(np.uint8))
        areas = stats[1:count, cv2.CC_STAT_AREA]
        holes.append((areas > (2 * SUPERSAMPLE) ** 2).sum() - 1)  # without the outside
    assert np.median(holes) >= 4


def test_deck_holds_every_kind():
    deck = sum(kind.share for kind in KINDS.values())
    assert {scene.kind_of(0, 'DIS-TR', i) for i in range(deck)} == set(KINDS)


def test_foreground_differs_from_its_surroundings():
    """`stand_out` changes a grey object on the same grey."""
    grey = np.full((64, 64, 3), 0.5, np.float32)
    alpha = area_average(rasterise([fill(arc(32, 32, 16))], 64, 64) > 0)
    for seed in range(10):
        surface = scene.stand_out(np.random.default_rng(seed), grey, grey, alpha)
        assert abs(float(surface[32, 32, 0]) - 0.5) > 0.04


def test_global_threshold_does_not_solve_the_set():
    scores = []
    for index in range(40):
        sample = draw_sample(1, 'DIS-TR', index, 96, 96)
        grey = cv2.cvtColor(sample.image, cv2.COLOR_BGR2GRAY)
        bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1].astype(bool)
        gt = sample.mask > 127
        scores.append(max((mask & gt).sum() / (mask | gt).sum() for mask in (bright, ~bright)))
    assert np.mean(scores) < 0.65


def test_missing_photographs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(photo.skimage, '__file__', str(tmp_path / '__init__.py'))
    photo.load_photos.cache_clear()
    with pytest.raises(FileNotFoundError, match='astronaut.png.*reinstall'):
        photo.load_photos()
    monkeypatch.undo()
    photo.load_photos.cache_clear()
    assert len(photo.load_photos()) == len(photo.SCENES + photo.TEXTURES)


# --- a set on disk ----------------------------------------------------------------------------


def test_layout_is_that_of_dis5k(small_set: Path):
    for split, count in zip(SPLITS, (6, 3), strict=True):
        images = sorted((small_set / split / 'im').glob('*.jpg'))
        masks = sorted((small_set / split / 'gt').glob('*.png'))
        assert [path.stem for path in images] == [path.stem for path in masks]
        assert len(images) == count
        for image, mask in zip(images, masks, strict=True):
            assert image.stem.split('#')[1] in KINDS
            assert cv2.imread(str(image), cv2.IMREAD_UNCHANGED).shape == (64, 96, 3)
            mask = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (64, 96) and mask.dtype == np.uint8
            assert ((mask > 10) & (mask < 245)).any()


def test_train_and_validation_are_disjoint(small_set: Path):
    contents = list(read_files(small_set).values())
    assert len(set(contents)) == len(contents) == 18


def test_record_and_contact_sheet(small_set: Path):
    record = json.loads((small_set / 'synthetic_dis.json').read_text())
    assert (record['num_train'], record['num_val'], record['seed']) == (6, 3, 5)
    assert record['size'] == [64, 96]
    assert record['versions']['numpy'] == np.__version__
    sheet = cv2.imread(str(small_set / 'contact_sheet.jpg'))
    assert sheet.shape[1] == 4 * (2 * 160 + 6)  # four pairs a row


def test_files_do_not_depend_on_workers_and_numbers(small_set: Path, tmp_path: Path):
    fewer = read_files(write_dataset(tmp_path / 'fewer', 4, 1, 5, (64, 96), workers=2))
    whole = read_files(small_set)
    assert fewer.items() <= whole.items() and len(fewer) == 10
    other_seed = read_files(write_dataset(tmp_path / 'other', 4, 1, 6, (64, 96), workers=1))
    assert not set(other_seed.values()) & set(whole.values())


def test_other_files_in_the_folder_are_kept(small_set: Path, tmp_path: Path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='not empty.*--overwrite'):
        write_dataset(tmp_path, 1, 0, workers=1, size=(32, 32))
    (tmp_path / 'file').touch()
    with pytest.raises(FileExistsError, match='is a file'):
        write_dataset(tmp_path / 'file', 1, 0, workers=1, size=(32, 32), overwrite=True)
    write_dataset(tmp_path, 2, 1, workers=1, size=(32, 32), overwrite=True)
    write_dataset(tmp_path, 1, 0, workers=1, size=(32, 32), overwrite=True)
    assert len(read_files(tmp_path)) == 2  # the earlier, larger set is gone
    assert (tmp_path / 'notes.txt').read_text() == 'mine'


def test_images_that_are_not_synthetic_are_never_replaced(tmp_path: Path):
    real = tmp_path / 'DIS-TR' / 'im' / '1#photo.jpg'
    real.parent.mkdir(parents=True)
    real.write_bytes(b'real')
    for _ in range(2):  # without and with a record of a set
        with pytest.raises(FileExistsError, match=r'holds 1 files, such as DIS-TR/im/1#photo\.jpg'):
            write_dataset(tmp_path, 1, 0, workers=1, size=(32, 32), overwrite=True)
        assert real.read_bytes() == b'real'
        (tmp_path / 'synthetic_dis.json').write_text('{"num_train": 1, "num_val": 0, "seed": 0}')
    (tmp_path / 'synthetic_dis.json').write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match='is not the record of a synthetic set'):
        write_dataset(tmp_path, 1, 0, workers=1, size=(32, 32), overwrite=True)
    real.unlink()
    (tmp_path / 'synthetic_dis.json').unlink()
    (tmp_path / 'contact_sheet.jpg').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='such as contact_sheet.jpg'):
        write_dataset(tmp_path, 1, 0, workers=1, size=(32, 32), overwrite=True)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'num_train': -1, 'num_val': 1}, 'num_train=-1'),
        ({'num_train': 0, 'num_val': 0}, 'not both 0'),
        ({'num_train': 1, 'num_val': 0, 'seed': -1}, 'seed=-1: expected 0 or more'),
        (
            {'num_train': 1, 'num_val': 0, 'size': (16, 256)},
            r'size=\(16, 256\): expected .* of 32 pixels or more',
        ),
        ({'num_train': 1, 'num_val': 0, 'workers': 0}, 'workers=0: expected 1 or more'),
    ],
)
def test_invalid_arguments(arguments: dict, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


# --- the command ------------------------------------------------------------------------------


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['synthetic_dis.py', *arguments])
    load_tool('dataset_converters/synthetic_dis.py').main()


def test_command_draws_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    out = tmp_path / 'set'
    numbers = ['--num-train', '2', '--num-val', '1', '--seed', '5', '--workers', '1']
    run_command(monkeypatch, '--out', str(out), *numbers, '--size', '48', '64')
    assert len(read_files(out)) == 6 and (out / 'contact_sheet.jpg').is_file()
    assert '2 training and 1 validation' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='not empty'):
        run_command(monkeypatch, '--out', str(out), *numbers, '--size', '48')
    with pytest.raises(SystemExit, match='32 pixels'):
        run_command(monkeypatch, '--out', str(out / 'tiny'), *numbers, '--size', '8')
