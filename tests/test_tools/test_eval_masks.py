"""tools/analysis_tools/eval_masks.py, on folders of small masks."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from mmdiffdis.evaluation import MEASURES, PROTOCOLS, apply_protocol, measure_image, summarise
from tools.analysis_tools import eval_masks as tool

STEMS = ('1#Bag#2 x_o', 'b.c', 'ü', 'z')


@pytest.fixture
def folders(tmp_path, draw_pair):
    """`a` (noisy) and `b` (noisier) beside `gt` and `im`; returns their parent."""
    for folder in ('a', 'b', 'gt', 'im'):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for seed, stem in enumerate(STEMS):
        image, truth = draw_pair(seed)
        Image.fromarray(truth).save(tmp_path / 'gt' / f'{stem}.png')
        Image.fromarray(image).save(tmp_path / 'im' / f'{stem}.jpg')
        for model, noise in (('a', 20), ('b', 60)):
            mask = np.clip(truth * 0.8 + rng.normal(10, noise, truth.shape), 0, 255)
            suffix = 'png' if seed % 2 else 'bmp'
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / model / f'{stem}.{suffix}')
    return tmp_path


@pytest.fixture
def score(folders):
    """Runs the tool on model a (or others); returns the exit code."""

    def run(*arguments, pred=('a',), workers=1):
        models = [str(folders / name) for name in pred]
        fixed = ['--gt', str(folders / 'gt'), '--out', str(folders / 'out' / 's.json')]
        return tool.main(['--pred', *models, *fixed, '--workers', str(workers), *arguments])

    return run


def written(folders: Path) -> dict:
    return json.loads((folders / 'out' / 's.json').read_text())


def rows(folders: Path, model: str = 'a') -> list[list[str]]:
    with (folders / 'out' / 's' / model / 'per_image.csv').open(newline='') as file:
        return list(csv.reader(file))


def by_hand(folders: Path, protocol: str, measures: list[str], stems=STEMS) -> dict:
    values = []
    for stem in stems:
        (path,) = (folders / 'a').glob(f'{stem}.*')
        mask = np.asarray(Image.open(path)) / 255
        truth = np.asarray(Image.open(folders / 'gt' / f'{stem}.png')) > 127
        values.append(measure_image(apply_protocol(mask, **PROTOCOLS[protocol]), truth, measures))
    return summarise(values, measures)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_figures_are_those_of_the_metric(folders, score, protocol):
    assert score('--protocol', protocol, '--metrics', 'all') == 0
    result = written(folders)
    assert result['models']['a']['images'] == len(STEMS)
    expected = by_hand(folders, protocol, list(MEASURES))
    assert result['models']['a']['metrics'] == pytest.approx(expected, abs=1e-9)
    record = result['protocol']
    assert record['protocol'] == protocol and 'opencv-python' in result['versions']
    assert {key: record[key] for key in PROTOCOLS[protocol]} == PROTOCOLS[protocol]
    assert {'resize', 'tta', 'seed', 'truth', 'missing'} <= set(record)


def test_tables_curves_and_worst_pictures(folders, score, capsys):
    assert score('--metrics', 'MAE', 'HCE', '--images', str(folders / 'im'), pred=('a', 'b')) == 0
    out = folders / 'out' / 's'
    table = (out / 'table.md').read_text()
    assert "protocol 'soft' (quantise=True, min_max=False, binarise=None, resize=none" in table
    metrics = {name: each['metrics'] for name, each in written(folders)['models'].items()}
    assert f'| a | 4 | **{metrics["a"]["MAE"]:.4f}** |' in table
    assert f'| b | 4 | {metrics["b"]["MAE"]:.4f} |' in table
    assert table in capsys.readouterr().out
    assert rf'\textbf{{{metrics["a"]["MAE"]:.4f}}}' in (out / 'table.tex').read_text()
    with (out / 'table.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert float(lines[1]['MAE']) == metrics['b']['MAE'] and 'soft' in lines[1]['protocol']
    assert Image.open(out / 'curves.png').size[0] > 500
    # mask, truth, difference and image, all 320 wide, six apart
    assert Image.open(out / 'a' / 'worst.jpg').size[0] == 4 * 320 + 3 * 6


def test_legend_has_every_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tool.Figure, 'savefig', lambda figure, *_, **__: figures.append(figure))
    figures = []
    curve = np.linspace(0, 1, 256)
    curves = {name: {'precision': curve, 'recall': curve, 'F': curve} for name in ('_a', 'b_$c$')}
    tool.draw_curves(curves, 'title', tmp_path / 'curves.png')
    for axis in figures[0].axes:
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        assert texts == [' _a', r'b_\$c\$']


def test_names_of_models(folders):
    folder = str(folders / 'a')
    (folders / 'x=y').mkdir()
    models = tool.models_of([folder, f'ours={folder}', str(folders / 'x=y')])
    assert list(models) == ['a', 'ours', 'x=y']
    with pytest.raises(ValueError, match='needs a name of its own'):
        tool.models_of([folder, folder])
    with pytest.raises(NotADirectoryError, match='--pred nowhere is no folder'):
        tool.models_of(['n=nowhere'])


def test_worker_processes_give_the_same(folders, score):
    arguments = ['--pred', str(folders / 'a'), '--gt', str(folders / 'gt'), '--workers', '2']
    out = folders / 'pool.json'
    command = [sys.executable, 'tools/analysis_tools/eval_masks.py', *arguments, '--out', str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert score() == 0
    metrics = written(folders)['models']['a']['metrics']
    assert json.loads(out.read_text())['models']['a']['metrics'] == pytest.approx(metrics)


def test_second_run_scores_nothing_again(folders, score, monkeypatch):
    assert score() == 0
    first = written(folders), rows(folders)
    monkeypatch.setattr(tool, 'score', None)
    assert score() == 0
    assert (written(folders), rows(folders)) == first


def test_changed_and_removed_files_are_noticed(folders, score):
    assert score() == 0
    before = written(folders)['models']['a']['metrics']
    (path,) = (folders / 'a').glob('z.*')
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(path)
    (folders / 'gt' / 'b.c.png').unlink()
    assert score('--extra', 'skip') == 0
    assert sorted(row[0] for row in rows(folders)[1:]) == sorted({*STEMS} - {'b.c'})
    after = written(folders)['models']['a']
    assert after['metrics'] == pytest.approx(
        by_hand(folders, 'soft', list(before), [stem for stem in STEMS if stem != 'b.c'])
    )
    assert [Path(extra).stem for extra in after['problems']['extra']] == ['b.c']


def test_changed_mask_of_the_same_size_and_date_is_noticed(folders, score):
    """As `cp -p`, an archive or an image format without compression leave it."""
    path = next((folders / 'a').glob('*.bmp'))
    assert score('--metrics', 'MAE') == 0
    before = written(folders)['models']['a']['metrics']['MAE']
    old = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert score('--metrics', 'MAE') == 0
    assert written(folders)['models']['a']['metrics']['MAE'] > before + 0.05


@pytest.mark.parametrize('name', ['per_image.csv', 'histograms.csv'])
@pytest.mark.parametrize('cut', [1, 20, 150])
def test_line_cut_by_a_kill_is_written_again(folders, score, name, cut):
    assert score() == 0
    first = written(folders), sorted(rows(folders))
    path = folders / 'out' / 's' / 'a' / name
    path.write_bytes(path.read_bytes()[:-cut])
    assert score() == 0
    assert written(folders)['models']['a']['metrics'] == pytest.approx(
        first[0]['models']['a']['metrics']
    )
    assert sorted(rows(folders)) == first[1]


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(folders, draw_pair, how):
    """In the middle: nothing is lost, nothing doubled, and Ctrl-C (SIGINT) makes no fuss."""
    for seed in range(300):
        _, truth = draw_pair(seed, 120, 160)
        for folder in ('a', 'gt'):
            Image.fromarray(truth).save(folders / folder / f'n{seed}.png')
    arguments = ['--pred', folders / 'a', '--gt', folders / 'gt', '--workers', '2']
    out = folders / 'out' / 's.json'
    command = [sys.executable, 'tools/analysis_tools/eval_masks.py', *arguments, '--out', out]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what runs in a shell's background has Ctrl-C ignored, and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    table = out.with_suffix('') / 'a' / 'per_image.csv'
    while process.poll() is None and (not table.exists() or table.read_bytes().count(b'\n') < 20):
        time.sleep(0.01)
    os.killpg(process.pid, how)
    _, errors = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130 and 'Traceback' not in errors
        assert errors.endswith('interrupted; the same command goes on from here\n')
    assert 20 <= table.read_bytes().count(b'\n') < 305 and not out.exists()
    assert tool.main([*map(str, command[2:]), '--metrics', 'maxF', 'wF', 'E', 'S', 'MAE']) == 0
    stems = [row[0] for row in rows(folders)[1:]]
    assert len(stems) == len({*stems}) == 304 == written(folders)['models']['a']['images']


def test_workers_end_with_their_parent():
    """Also if it is killed alone, and cannot tell them."""
    program = (
        'import os, time\n'
        'from mmdiffdis.utils.parallel import process_pool\n'
        'with process_pool(2) as pool:\n'
        '    pool.submit(time.sleep, 0.5), pool.submit(time.sleep, 0.5)\n'
        '    print("started", flush=True)\n'
        '    time.sleep(60)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b'started\n'
        time.sleep(1)
        process.kill()
        process.communicate(timeout=20)  # until nobody holds its output any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_workers_start_although_opencv_has_threads():
    program = (
        'import cv2, numpy as np\n'
        'from mmdiffdis.utils.parallel import process_pool\n'
        'cv2.setNumThreads(4)\n'
        'cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)\n'
        'with process_pool(2) as pool:\n'
        '    print(sum(pool.map(abs, range(-3, 0))))\n'
    )
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=120, check=True)
    assert done.stdout == b'6\n'


def test_other_settings_are_refused(folders, score):
    assert score() == 0
    with pytest.raises(SystemExit, match=r'holds results of other settings.*another --out'):
        score('--protocol', 'binary')


def test_all_problems_are_listed_and_nothing_is_scored(folders, score, capsys):
    (folders / 'a' / 'b.c.png').unlink()
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folders / 'a' / 'new.png')
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folders / 'a' / 'z.jpg')
    Image.fromarray(np.zeros((20, 28), np.uint8)).save(folders / 'a' / 'ü.bmp')
    assert score() == 1
    printed = capsys.readouterr().err
    assert 'nothing was scored' in printed
    assert 'a: 1 truths without a mask; --missing skip|empty\n  b.c' in printed
    assert '1 masks without a truth; --extra skip' in printed and 'new.png' in printed
    assert "not of their truth's size" in printed and 'is 28x20, its truth 56x40' in printed
    assert 'whose stem another has too' in printed
    assert not (folders / 'out').exists()


def test_missing_masks_left_out_or_scored_as_empty(folders, score, capsys):
    (folders / 'a' / 'b.c.png').unlink()
    assert score('--missing', 'skip') == 0
    assert 'scored with --missing skip:\na: 1 truths without a mask\n  b.c\n' in (
        capsys.readouterr().out
    )
    assert written(folders)['models']['a']['images'] == 3
    assert written(folders)['models']['a']['problems'] == {'missing': ['b.c']}
    with pytest.raises(SystemExit, match='other settings'):
        score('--missing', 'empty')
    out = folders / 'empty.json'
    assert score('--missing', 'empty', '--out', str(out)) == 0
    result = json.loads(out.read_text())
    assert result['models']['a']['images'] == 4 and result['protocol']['missing'] == 'empty'
    assert 'missing masks: empty' in (folders / 'empty' / 'table.md').read_text()


@pytest.mark.parametrize('rule', ['nearest', 'bilinear', 'bicubic'])
def test_masks_of_another_size_are_resized_by_the_rule(folders, score, rule):
    for path in (folders / 'a').iterdir():
        Image.open(path).resize((28, 20)).save(path)
    assert score('--resize', rule) == 0
    assert written(folders)['protocol']['resize'] == rule
    assert written(folders)['models']['a']['metrics']['MAE'] < 0.3
    assert f'resize={rule}' in (folders / 'out' / 's' / 'table.md').read_text()


def test_damaged_mask_fails_the_run_but_the_rest_is_kept(folders, score, capsys):
    (path,) = (folders / 'a').glob('b.c.*')
    path.write_bytes(path.read_bytes()[:60])
    assert score() == 1
    printed = capsys.readouterr().err
    assert 'not everything was scored' in printed and str(path) in printed
    assert len(rows(folders)) == 1 + 3 and not (folders / 'out' / 's.json').exists()
    assert score('--missing', 'skip') == 0
    result = written(folders)['models']['a']
    assert result['images'] == 3 and str(path) in result['problems']['unreadable'][0]


def test_masks_of_zeros_and_ones_are_not_taken_for_black(folders, score, capsys):
    for path in (folders / 'a').iterdir():
        Image.fromarray(np.uint8(np.asarray(Image.open(path)) > 127)).save(path)
    assert score() == 1
    assert 'its largest grey level is 1; say with --full-scale' in capsys.readouterr().err
    assert score('--full-scale', '1', '--out', str(folders / 'ones.json')) == 0
    result = json.loads((folders / 'ones.json').read_text())
    assert result['models']['a']['metrics']['maxF'] > 0.9


def test_full_scale_is_not_for_boolean_and_floating_point_masks(tmp_path):
    """Which some programs write beside grey ones, whose white `--full-scale` tells."""
    mask = np.array([[True, False]])
    Image.fromarray(mask).save(tmp_path / 'bool.png')
    Image.fromarray(mask.astype(np.float32)).save(tmp_path / 'float.tif')
    for name in ('bool.png', 'float.tif'):
        assert tool.read_prediction(tmp_path / name, 255).tolist() == [[1, 0]]


def test_sixteen_bit_and_boolean_masks(tmp_path):
    deep = np.array([[0, 32768, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    expected = deep / 65535
    np.testing.assert_allclose(tool.read_prediction(tmp_path / 'deep.png', None), expected)
    Image.fromarray(np.array([[True, False]])).save(tmp_path / 'bool.png')
    assert tool.read_prediction(tmp_path / 'bool.png', None).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--out', 's.csv'], 'expected the name of a .json file'),
        (['--gt', 'nowhere'], 'nowhere is no folder'),
        (['--images', 'nowhere'], 'nowhere is no folder'),
        (['--gt', '{empty}'], 'no image file in --gt .*, which holds no folders'),
        (['--pred', 'm={outer}'], r"no image file in --pred .*, which holds the folders \['gt'\]"),
    ],
)
def test_mistakes_end_in_one_line(score, tmp_path, arguments, message):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'outer' / 'gt').mkdir(parents=True)
    named = {name: str(tmp_path / name) for name in ('empty', 'outer')}
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        score(*(text.format(**named) for text in arguments))
