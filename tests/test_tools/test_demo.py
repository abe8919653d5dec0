"""tools/demo.py at its smallest, and its methods without training."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from tools import demo


def draw_square(dark_object: bool) -> np.ndarray:
    """Returns a square in the centre of a plain image, uint8 [64, 96, 3]."""
    image = np.full((64, 96, 3), 220 if dark_object else 30, np.uint8)
    image[20:44, 34:62] = 40 if dark_object else 230
    return image


@pytest.mark.parametrize('method', [demo.otsu, demo.grabcut])
@pytest.mark.parametrize('dark_object', [True, False])
def test_methods_without_training_find_a_plain_object(method, dark_object):
    mask = method(draw_square(dark_object), share=0.1)
    ground_truth = np.zeros((64, 96))
    ground_truth[20:44, 34:62] = 1
    assert np.abs(mask - ground_truth).mean() < 0.02


def test_constant_is_the_share_of_foreground():
    assert np.array_equal(demo.constant(draw_square(True), 0.3), np.full((64, 96), 0.3))


def test_photographs_are_found_from_the_current_folder():
    assert demo.parse_args(['--photos', 'a.png']).photos == [os.path.abspath('a.png')]


@pytest.mark.slow
def test_whole_demo_writes_what_it_announces(tmp_path):
    """In a folder whose name has a space and a comma."""
    tmp_path = tmp_path / 'a b,c'
    tmp_path.mkdir()
    Image.fromarray(draw_square(True)).save(tmp_path / 'my photo.png')
    arguments = ['--num-train', '20', '--num-val', '2', '--iters', '2']
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/demo.py', '--out', 'out', *arguments]
        + ['--photos', 'my photo.png'],
        cwd=tmp_path,
        env={**os.environ, 'MPLBACKEND': 'module://matplotlib_inline.backend_inline'},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'training' in result.stderr and '2/2' in result.stderr  # the bar
    table = json.loads((tmp_path / 'out' / 'metrics' / 'all.json').read_text())
    names = ['constant', "Otsu's threshold", 'GrabCut from the centre']
    assert list(table) == [*names, 'DiffDIS tiny, 2 steps', 'DiffDIS tiny, as shipped']
    for name, scores in table.items():
        assert list(scores) == ['maxF', 'wF', 'E', 'S', 'MAE'] and name in result.stdout
    scores = json.loads((tmp_path / 'out' / 'metrics' / 'photographs.json').read_text())
    models = ['DiffDIS tiny', 'DiffDIS small', 'U2-Net-p']
    assert list(scores) == [*names, *(f'{model}, as shipped' for model in models)]
    assert scores['U2-Net-p, as shipped']['maxF'] > 0.85
    assert scores['DiffDIS small, as shipped']['maxF'] > 0.75
    with Image.open(tmp_path / 'out' / 'cutouts' / 'my photo.png') as cutout:
        assert cutout.size == (96, 64) and cutout.mode == 'RGBA'
    announced = result.stdout.split('synthetic images')[1]
    for name in ('training.png', 'contact_sheet.jpg', 'all.json', 'photographs.json', 'cutouts'):
        assert name in announced
    # a second demo takes its place
    demo.remove_earlier_demo(tmp_path / 'out')
    assert not demo.list_files(tmp_path / 'out') and (tmp_path / 'out' / 'cutouts').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--num-val', '0'], '--num-val 0: expected 1 or more'),
        (['--iters', '0'], '--iters 0: expected 1 or more'),
        (['--photos', 'nowhere.jpg'], r"nowhere\.jpg' is no file"),
        ([], r"training/mine\.pth' is not listed in .*demo\.json.*another --out"),
    ],
)
def test_mistakes_end_in_one_line_and_nothing_is_deleted(tmp_path, monkeypatch, arguments, message):
    mine = tmp_path / 'training' / 'mine.pth'
    mine.parent.mkdir()
    mine.touch()
    monkeypatch.setattr(sys, 'argv', ['demo.py', '--out', str(tmp_path), *arguments])
    with pytest.raises(SystemExit, match=f'demo.py: error: .*{message}'):
        demo.main()
    assert mine.exists()


def test_only_files_of_an_earlier_demo_are_removed(tmp_path):
    demo.remove_earlier_demo(tmp_path)
    earlier = tmp_path / 'training' / 'run' / 'iter_2.pth'
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    demo.record_files(tmp_path)
    mine = tmp_path / 'metrics' / 'mine.json'
    mine.parent.mkdir()
    mine.touch()
    with pytest.raises(FileExistsError, match=r'metrics/mine\.json. is not listed'):
        demo.remove_earlier_demo(tmp_path)
    assert earlier.exists()
    mine.unlink()
    demo.remove_earlier_demo(tmp_path)
    assert not earlier.exists() and demo.list_files(tmp_path) == set()


def test_results_without_a_record_are_not_replaced(tmp_path):
    (tmp_path / 'cutouts').mkdir()
    with pytest.raises(FileExistsError, match='cutouts. is not listed'):
        demo.remove_earlier_demo(tmp_path)
