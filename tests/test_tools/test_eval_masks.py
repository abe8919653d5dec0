"""tools/analysis_tools/eval_masks.py on folders of small masks."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from helpers import locked_by_another_process
from PIL import Image

from mmdiffdis.evaluation import (
    MEASURES,
    PAPER_MEASURES,
    PROTOCOLS,
    RESIZE_RULES,
    apply_protocol,
    measure_image,
    summarise,
)
from tools.analysis_tools import eval_masks as tool

STEMS = ('1#Bag#2 x_o', 'b.c', 'ü', 'z')


@pytest.fixture
def folders(tmp_path, draw_pair):
    """`a` (noisy) and `b` (noisier) beside `gt` and `im`; returns their parent."""
    for folder in ('a', 'b', 'gt', 'im'):
        (tmp_path / folder).mkdir()
    rng = np.random.default_rng(0)
    for seed, stem in enumerate(STEMS):
        image, gt = draw_pair(seed)
        Image.fromarray(gt).save(tmp_path / 'gt' / f'{stem}.png')
        Image.fromarray(image).save(tmp_path / 'im' / f'{stem}.jpg')
        for model, noise in (('a', 20), ('b', 60)):
            mask = np.clip(gt * 0.8 + rng.normal(10, noise, gt.shape), 0, 255)
            suffix = 'png' if seed % 2 else 'bmp'
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / model / f'{stem}.{suffix}')
    return tmp_path


@pytest.fixture
def run_tool(folders):
    """Runs the tool on model a (or others); returns the exit code."""

    def run(*arguments, pred=('a',), workers=1):
        models = [str(folders / name) for name in pred]
        fixed = ['--gt', str(folders / 'gt'), '--out', str(folders / 'out' / 's.json')]
        return tool.main(['--pred', *models, *fixed, '--workers', str(workers), *arguments])

    return run


def results(folders: Path) -> dict:
    return json.loads((folders / 'out' / 's.json').read_text())


def rows(folders: Path, model: str = 'a') -> list[list[str]]:
    with (folders / 'out' / 's' / model / 'per_image.csv').open(newline='') as file:
        return list(csv.reader(file))


def expected_scores(folders: Path, protocol: str, measures: list[str], stems=STEMS) -> dict:
    values = []
    for stem in stems:
        (path,) = (folders / 'a').glob(f'{stem}.*')
        mask = np.asarray(Image.open(path)) / 255
        gt = np.asarray(Image.open(folders / 'gt' / f'{stem}.png')) > 127
        values.append(measure_image(apply_protocol(mask, **PROTOCOLS[protocol]), gt, measures))
    return summarise(values, measures)


def test_help_and_names_need_no_package():
    command = [sys.executable, '-I', '-S', str(ROOT / 'tools/analysis_tools/eval_masks.py'), '-h']
    assert b'--metrics' in subprocess.run(command, check=True, capture_output=True).stdout
    assert list(MEASURES) == tool.METRICS and tool.METRICS[:5] == [*PAPER_MEASURES]
    assert list(PROTOCOLS) == tool.PROTOCOLS and list(RESIZE_RULES) == tool.RESIZE_RULES


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_scores_equal_those_of_the_metric(folders, run_tool, protocol):
    assert run_tool('--protocol', protocol, '--metrics', 'all') == 0
    result = results(folders)
    assert result['models']['a']['images'] == len(STEMS)
    expected = expected_scores(folders, protocol, list(MEASURES))
    assert result['models']['a']['metrics'] == pytest.approx(expected, abs=1e-9)
    record = result['protocol']
    assert record['protocol'] == protocol and 'opencv-python' in result['versions']
    assert {key: record[key] for key in PROTOCOLS[protocol]} == PROTOCOLS[protocol]
    assert {'resize', 'tta', 'seed', 'truth', 'missing'} <= set(record)


def test_tables_curves_and_worst_images(folders, run_tool, capsys):
    arguments = ['--metrics', 'MAE', 'HCE', '--images', str(folders / 'im')]
    assert run_tool(*arguments, pred=('a', 'b')) == 0
    out = folders / 'out' / 's'
    table = (out / 'table.md').read_text()
    assert "protocol 'soft' (quantise=True, min_max=False, binarise=None, resize=none" in table
    metrics = {name: model['metrics'] for name, model in results(folders)['models'].items()}
    assert f'| a | 4 | **{metrics["a"]["MAE"]:.4f}** |' in table
    assert f'| b | 4 | {metrics["b"]["MAE"]:.4f} |' in table
    assert table in capsys.readouterr().out
    assert rf'\textbf{{{metrics["a"]["MAE"]:.4f}}}' in (out / 'table.tex').read_text()
    with (out / 'table.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert float(lines[1]['MAE']) == metrics['b']['MAE'] and 'soft' in lines[1]['protocol']
    assert Image.open(out / 'curves.png').size[0] > 500
    # mask, ground truth, difference and image, all 320 wide, with gaps of 6
    assert Image.open(out / 'a' / 'worst.jpg').size[0] == 4 * 320 + 3 * 6


def test_names_of_models(folders):
    folder = str(folders / 'a')
    (folders / 'x=y').mkdir()
    models = tool.named_folders([folder, f'ours={folder}', str(folders / 'x=y')])
    assert list(models) == ['a', 'ours', 'x=y']
    with pytest.raises(ValueError, match='expected a name of its own'):
        tool.named_folders([folder, folder])
    with pytest.raises(NotADirectoryError, match='--pred nowhere is no folder'):
        tool.named_folders(['n=nowhere'])


def test_second_run_scores_nothing_again(folders, run_tool, monkeypatch):
    assert run_tool() == 0
    first = results(folders), rows(folders)
    monkeypatch.setattr('mmdiffdis.evaluation.folders.score_pair', None)
    assert run_tool() == 0
    assert (results(folders), rows(folders)) == first


def test_changed_and_removed_files_are_noticed(folders, run_tool):
    assert run_tool() == 0
    before = results(folders)['models']['a']['metrics']
    (path,) = (folders / 'a').glob('z.*')
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(path)
    (folders / 'gt' / 'b.c.png').unlink()
    assert run_tool('--extra', 'skip') == 0
    assert sorted(row[0] for row in rows(folders)[1:]) == sorted({*STEMS} - {'b.c'})
    after = results(folders)['models']['a']
    assert after['metrics'] == pytest.approx(
        expected_scores(folders, 'soft', list(before), [stem for stem in STEMS if stem != 'b.c'])
    )
    assert [Path(extra).stem for extra in after['problems']['extra']] == ['b.c']


def test_changed_mask_of_the_same_size_and_date_is_noticed(folders, run_tool):
    """Uncompressed formats keep the size; `cp -p` and archives keep the time of modification."""
    path = next((folders / 'a').glob('*.bmp'))
    assert run_tool('--metrics', 'MAE') == 0
    before = results(folders)['models']['a']['metrics']['MAE']
    old = path.stat()
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert run_tool('--metrics', 'MAE') == 0
    assert results(folders)['models']['a']['metrics']['MAE'] > before + 0.05


@pytest.mark.slow
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_and_started_again(folders, draw_pair, how):
    """Nothing is lost or scored twice, and Ctrl-C (SIGINT) prints no traceback."""
    for seed in range(150):
        _, gt = draw_pair(seed, 120, 160)
        for folder in ('a', 'gt'):
            Image.fromarray(gt).save(folders / folder / f'n{seed}.png')
    arguments = ['--pred', folders / 'a', '--gt', folders / 'gt', '--workers', '2']
    out = folders / 'out' / 's.json'
    command = [sys.executable, 'tools/analysis_tools/eval_masks.py', *arguments, '--out', out]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background processes ignore Ctrl-C, and so do their children
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
    assert 20 <= table.read_bytes().count(b'\n') < 155 and not out.exists()
    assert tool.main([*map(str, command[2:]), '--metrics', 'maxF', 'wF', 'E', 'S', 'MAE']) == 0
    stems = [row[0] for row in rows(folders)[1:]]
    assert len(stems) == len({*stems}) == 154 == results(folders)['models']['a']['images']


def test_results_never_go_into_folders_of_inputs(folders, run_tool):
    before = sorted(folders.rglob('*'))
    for out, message in (('.json', 'results would be written into .*a, which'), ('gt.json', 'gt')):
        out = f'{folders}{out}' if out == '.json' else str(folders / out)
        with pytest.raises(SystemExit, match=f'{message}.*choose another --out, or another NAME'):
            run_tool('--out', out)
    assert sorted(folders.rglob('*')) == before and not Path(f'{folders}.json').exists()


def test_second_command_with_the_same_out_is_refused(folders, run_tool):
    with locked_by_another_process(folders / 'out' / 's' / '.lock'):
        with pytest.raises(SystemExit, match='another process is writing to .*choose another'):
            run_tool()
        assert not (folders / 'out' / 's' / 'a').exists()
        assert run_tool('--out', str(folders / 'out' / 'other.json')) == 0
    assert run_tool() == 0


def test_console_that_is_not_utf8_loses_nothing(folders, run_tool, monkeypatch):
    (folders / 'a').rename(folders / 'a-\u732b')
    console = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', console)
    (folders / 'gt' / '\u732b.png').write_bytes((folders / 'gt' / 'z.png').read_bytes())
    assert run_tool('--missing', 'skip', pred=('a-\u732b',)) == 0
    console.flush()
    assert rb'| a-\u732b | 4 |' in console.buffer.getvalue()
    assert results(folders)['models']['a-\u732b']['images'] == 4


def test_out_that_cannot_be_written_is_told_before_anything_is_scored(
    folders, run_tool, monkeypatch
):
    monkeypatch.setattr('mmdiffdis.evaluation.folders.score_pair', None)
    (folders / 'file').touch()
    with pytest.raises(SystemExit, match='choose another --out'):
        run_tool('--out', str(folders / 'file' / 's.json'))
    (folders / 'out' / 's.json').mkdir(parents=True)
    with pytest.raises(SystemExit, match='is a folder: expected the name of a file'):
        run_tool()


def test_images_that_are_missing_or_damaged_lose_no_scores(folders, run_tool, capsys):
    (folders / 'im' / 'z.jpg').write_bytes(b'\xff\xd8\xff')
    (folders / 'im' / 'b.c.jpg').unlink()
    assert run_tool('--images', str(folders / 'im')) == 0
    printed = capsys.readouterr().err
    assert re.search(r"a: left out of worst.jpg: cannot read '.*z.jpg'", printed)
    assert re.search(r"a: left out of worst.jpg: '.*im' has no image 'b.c'", printed)
    assert results(folders)['models']['a']['images'] == 4
    assert Image.open(folders / 'out' / 's' / 'a' / 'worst.jpg').size[0] == 4 * 320 + 3 * 6


@pytest.mark.parametrize('step', ['plot_curves', 'save_worst'])
def test_scores_are_saved_before_anything_is_drawn(folders, run_tool, monkeypatch, step):
    def fail(*arguments):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(f'mmdiffdis.evaluation.report.{step}', fail)
    with pytest.raises(SystemExit, match='No space left'):
        run_tool()
    assert results(folders)['models']['a']['images'] == 4
    assert (folders / 'out' / 's' / 'table.md').is_file()


def test_workers_are_as_many_as_there_are_cpus_for_them(folders, run_tool, monkeypatch):
    used = []
    monkeypatch.setattr('mmdiffdis.utils.parallel.available_cpus', lambda: 3)
    monkeypatch.setattr(
        'mmdiffdis.evaluation.folders.score_folder', lambda *arguments: used.append(arguments[3])
    )
    with pytest.raises(SystemExit, match='no image of a could be scored'):
        tool.main(
            ['--pred', str(folders / 'a'), '--gt', str(folders / 'gt')]
            + ['--out', str(folders / 's.json')]
        )
    assert used == [3]


def test_other_settings_are_refused(folders, run_tool):
    assert run_tool() == 0
    with pytest.raises(SystemExit, match=r'holds results of other settings.*another --out'):
        run_tool('--protocol', 'binary')


def test_all_problems_are_listed_and_nothing_is_scored(folders, run_tool, capsys):
    (folders / 'a' / 'b.c.png').unlink()
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folders / 'a' / 'new.png')
    Image.fromarray(np.zeros((40, 56), np.uint8)).save(folders / 'a' / 'z.jpg')
    Image.fromarray(np.zeros((20, 28), np.uint8)).save(folders / 'a' / 'ü.bmp')
    assert run_tool() == 1
    printed = capsys.readouterr().err
    assert 'nothing was scored' in printed
    assert 'a: 1 ground truths without a mask; --missing skip|empty\n  b.c' in printed
    assert '1 masks without a ground truth; --extra skip' in printed and 'new.png' in printed
    assert 'masks of another size than their ground truth; --resize nearest|' in printed
    assert 'is 28x20, its ground truth 56x40' in printed
    assert 'a: 1 files with the stem of another file; remove all but one' in printed
    assert not (folders / 'out').exists()


def test_missing_masks_left_out_or_scored_as_empty(folders, run_tool, capsys):
    (folders / 'a' / 'b.c.png').unlink()
    assert run_tool('--missing', 'skip') == 0
    assert 'scored with --missing skip:\na: 1 ground truths without a mask\n  b.c\n' in (
        capsys.readouterr().out
    )
    assert results(folders)['models']['a']['images'] == 3
    assert results(folders)['models']['a']['problems'] == {'missing': ['b.c']}
    with pytest.raises(SystemExit, match='other settings'):
        run_tool('--missing', 'empty')
    out = folders / 'empty.json'
    assert run_tool('--missing', 'empty', '--out', str(out)) == 0
    result = json.loads(out.read_text())
    assert result['models']['a']['images'] == 4 and result['protocol']['missing'] == 'empty'
    assert 'missing masks: empty' in (folders / 'empty' / 'table.md').read_text()


@pytest.mark.parametrize('rule', ['nearest', 'bilinear', 'bicubic'])
def test_masks_of_another_size_are_resized_by_the_rule(folders, run_tool, rule):
    for path in (folders / 'a').iterdir():
        Image.open(path).resize((28, 20)).save(path)
    assert run_tool('--resize', rule) == 0
    assert results(folders)['protocol']['resize'] == rule
    assert results(folders)['models']['a']['metrics']['MAE'] < 0.3
    assert f'resize={rule}' in (folders / 'out' / 's' / 'table.md').read_text()


def test_damaged_mask_fails_the_run_but_the_rest_is_kept(folders, run_tool, capsys):
    (path,) = (folders / 'a').glob('b.c.*')
    path.write_bytes(path.read_bytes()[:60])
    assert run_tool() == 1
    printed = capsys.readouterr().err
    assert 'not everything was scored' in printed and str(path) in printed
    assert len(rows(folders)) == 1 + 3 and not (folders / 'out' / 's.json').exists()
    assert run_tool('--missing', 'skip') == 0
    result = results(folders)['models']['a']
    assert result['images'] == 3 and str(path) in result['problems']['unreadable'][0]


def test_masks_of_zeros_and_ones_are_not_taken_for_black(folders, run_tool, capsys):
    for path in (folders / 'a').iterdir():
        Image.fromarray(np.uint8(np.asarray(Image.open(path)) > 127)).save(path)
    assert run_tool() == 1
    assert 'its largest grey level is 1: set with --full-scale' in capsys.readouterr().err
    assert run_tool('--full-scale', '1', '--out', str(folders / 'ones.json')) == 0
    result = json.loads((folders / 'ones.json').read_text())
    assert result['models']['a']['metrics']['maxF'] > 0.9


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
def test_mistakes_end_in_one_line(run_tool, tmp_path, arguments, message):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'outer' / 'gt').mkdir(parents=True)
    named = {name: str(tmp_path / name) for name in ('empty', 'outer')}
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run_tool(*(text.format(**named) for text in arguments))


@pytest.mark.parametrize('option', ['--workers', '--full-scale'])
def test_numbers_below_one_are_refused(run_tool, capsys, option):
    with pytest.raises(SystemExit, match='2'):
        run_tool(option, '0')
    assert f'error: {option} 0: expected 1 or more' in capsys.readouterr().err


def test_empty_ground_truths_are_counted(folders, run_tool, capsys):
    Image.new('L', (56, 40)).save(folders / 'gt' / 'z.png')
    assert run_tool() == 0
    assert results(folders)['models']['a']['empty'] == 1
    assert '1 ground truth(s) without foreground' in capsys.readouterr().out


def test_masks_named_as_other_tools_do(folders, run_tool):
    assert run_tool() == 0
    before = results(folders)['models']['a']['metrics']
    endings = '_mask', '_rgba', '.jpg', '-alpha'
    for path, ending in zip(sorted((folders / 'a').iterdir()), endings, strict=True):
        path.rename(path.with_name(f'{path.stem}{ending}{path.suffix}'))
    assert run_tool() == 0
    assert results(folders)['models']['a']['metrics'] == before


def test_transparent_cutouts_are_empty_masks(folders, run_tool):
    for path in (folders / 'a').iterdir():
        path.unlink()
    for stem in STEMS:
        image = Image.open(folders / 'im' / f'{stem}.jpg')
        image.putalpha(0)
        image.save(folders / 'a' / f'{stem}.png')
    assert run_tool() == 0
    share = np.mean([np.asarray(Image.open(path)) > 127 for path in (folders / 'gt').iterdir()])
    assert results(folders)['models']['a']['metrics']['MAE'] == pytest.approx(share)


def test_names_that_are_not_utf_8(folders, run_tool, capsys):
    name = os.fsdecode(b'caf\xe9')
    for folder, suffix in (('a', 'png'), ('gt', 'png'), ('im', 'jpg')):
        path = folders / folder / f'z.{suffix}'
        path.rename(path.with_name(f'{name}.{suffix}'))
    assert run_tool('--images', str(folders / 'im')) == 0
    assert r'caf\xe9' in [row[0] for row in rows(folders)]
    (folders / 'a' / f'{name}.png').unlink()
    assert run_tool() == 1
    assert r'caf\xe9' in capsys.readouterr().err
