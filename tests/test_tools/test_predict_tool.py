"""Files that tools/predict.py writes, skips and refuses."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, load_tool
from PIL import Image, ImageCms

from mmdiffdis.apis import DISInferencer, inference
from mmdiffdis.apis.precision import PRECISIONS
from mmdiffdis.apis.predicting import Prediction, Record
from mmdiffdis.apis.video import VideoReader, VideoWriter
from mmdiffdis.images.finishing import finish
from mmdiffdis.images.foreground import foreground_colour
from mmdiffdis.images.options import ResultOptions

predict = load_tool('predict.py')


@pytest.fixture
def model(stock_config, stock_checkpoint) -> list[str]:
    """CONFIG and CKPT of a small two-class segmentor."""
    config = stock_config(2)
    return [str(config), str(stock_checkpoint(config))]


@pytest.fixture
def photos(tmp_path, draw_pair) -> Path:
    """A folder of two images of different sizes."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    Image.fromarray(draw_pair(0, 40, 56)[0]).save(folder / 'a #1.jpg')
    Image.fromarray(draw_pair(1, 61, 30)[0]).save(folder / 'b.c.png')
    return folder


def run(model: list[str], *arguments: str | Path) -> int:
    return predict.main([*model, *map(str, arguments), '--device', 'cpu'])


def names(folder: Path) -> list[str]:
    """Names of the files in a folder, without the record."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != '.json')


def entries(out: Path) -> list[dict]:
    """Lines of the record, of all shards."""
    lines = [line for path in out.glob('predict*.json') for line in path.read_text().split('\n')]
    return [json.loads(line) for line in lines if line]


def test_masks_are_grey_at_the_size_of_their_images(model, photos, tmp_path, capsys):
    assert run(model, photos, '--out', tmp_path / 'new' / 'out') == 0
    out = tmp_path / 'new' / 'out'
    assert names(out) == ['a #1.png', 'b.c.png']
    for name, size in [('a #1.png', (56, 40)), ('b.c.png', (30, 61))]:
        mask = Image.open(out / name)
        assert mask.mode == 'L' and mask.size == size
    assert np.ptp(np.array(mask)) > 0
    assert '2 of 2 written' in capsys.readouterr().out


def test_freed_memory_is_kept(model, photos, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr('mmdiffdis.utils.memory.keep_freed_memory', lambda: calls.append(1))
    assert run(model, photos, '--out', tmp_path / 'out') == 0
    assert calls == [1]


@pytest.mark.parametrize(('kind', 'mode'), [('cutout', 'RGBA'), ('overlay', 'RGB')])
def test_cutout_and_overlay_show_the_image(model, photos, tmp_path, kind, mode):
    assert run(model, photos / 'b.c.png', '--out', tmp_path / 'mask') == 0
    assert run(model, photos / 'b.c.png', '--out', tmp_path / kind, '--type', kind) == 0
    result = Image.open(tmp_path / kind / 'b.c.png')
    assert result.mode == mode and result.size == (30, 61)
    if kind == 'cutout':
        mask = Image.open(tmp_path / 'mask' / 'b.c.png')
        np.testing.assert_array_equal(np.array(result)[..., 3], np.array(mask))
        image = np.array(Image.open(photos / 'b.c.png'))
        expected = foreground_colour(image, np.array(mask) / 255)
        # the mask was rounded to 8 bits on its way to the file
        assert np.abs(np.array(result)[..., :3].astype(int) - expected).mean() < 1


def test_panel_of_a_model_without_edges_has_two_parts(model, photos, tmp_path):
    assert run(model, photos / 'b.c.png', '--out', tmp_path / 'out', '--type', 'panel') == 0
    panel = Image.open(tmp_path / 'out' / 'b.c.png')
    assert panel.width == 2 * round(30 * 512 / 61) + 6


def test_edge_of_a_model_without_edges_is_refused(model, photos, tmp_path):
    with pytest.raises(SystemExit, match='predicts no edges: choose another --type'):
        run(model, photos, '--out', tmp_path / 'out', '--type', 'edge')


def test_unreadable_files_are_reported_and_the_others_are_done(model, photos, tmp_path, capsys):
    (photos / 'notes.txt').write_text('no image')
    (photos / 'broken.jpg').write_bytes((photos / 'a #1.jpg').read_bytes()[:300])
    (photos / '.hidden').write_text('')
    (photos / 'link.jpg').symlink_to('gone.jpg')
    assert run(model, photos, '--out', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png']
    printed = capsys.readouterr()
    assert '2 of 5 written' in printed.out
    skipped = [line for line in printed.err.splitlines() if line.startswith('skipped')]
    assert len(skipped) == 3 and 'broken.jpg' in skipped[0] and 'notes.txt' in skipped[2]
    assert re.search(r"link\.jpg' is a broken link to 'gone\.jpg'", skipped[1])


@pytest.mark.parametrize('place', ['prepare', 'predict', 'write'])
@pytest.mark.parametrize('times', [1, 100])
def test_images_that_ran_out_of_memory_are_tried_again_alone(
    model, photos, tmp_path, capsys, monkeypatch, place, times
):
    failures = []

    def fails_for_a(function, is_a):
        def call(*args):
            if is_a(args) and len(failures) < times:
                failures.append(place)
                raise MemoryError
            return function(*args)

        return call

    name = 'a #1'
    owner, method, is_a = {
        'prepare': (DISInferencer, 'prepare', lambda args: name in str(args[1])),
        'predict': (DISInferencer, 'predict', lambda args: args[1][0].stem == name),
        'write': (Prediction, '_save', lambda args: args[1].stem == name),
    }[place]
    monkeypatch.setattr(owner, method, fails_for_a(getattr(owner, method), is_a))
    assert run(model, photos, '--out', tmp_path / 'out') == (0 if times == 1 else 1)
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png'][0 if times == 1 else 1 :]
    printed = capsys.readouterr()
    assert f'{2 if times == 1 else 1} of 2 written' in printed.out
    assert len(failures) == min(times, 2)
    if times > 1:
        assert 'a #1.jpg: out of memory' in printed.err


def test_inputs_are_never_replaced(model, photos):
    before = (photos / 'b.c.png').read_bytes()
    with pytest.raises(SystemExit, match=r'b\.c\.png. beside the inputs.*another --out'):
        run(model, *photos.iterdir(), '--out', photos)
    assert (photos / 'b.c.png').read_bytes() == before


def test_folder_of_inputs_cannot_be_out(model, photos):
    with pytest.raises(SystemExit, match='is a folder of inputs: choose another'):
        run(model, photos, '--out', photos / '..' / 'photos')
    assert names(photos) == ['a #1.jpg', 'b.c.png']


@pytest.mark.parametrize('options', [[], ['--frames']])
def test_pattern_that_reaches_into_out_is_repeated(model, photos, clip, capsys, options):
    clip.rename(photos / 'clip.mp4')
    command = [photos / '**', '--out', photos / 'masks', *options]
    assert run(model, *command) == 0
    assert 'left out' not in capsys.readouterr().out
    before = sorted((photos / 'masks').rglob('*'))
    assert run(model, *command, '--overwrite') == 0
    printed = capsys.readouterr().out
    assert f'left out {7 if options else 3} of the inputs: results in --out' in printed
    assert '3 of 3 written' in printed and sorted((photos / 'masks').rglob('*')) == before
    with pytest.raises(SystemExit, match=r'all inputs \(.*\) are results in --out'):
        run(model, photos / 'masks' / '**', '--out', photos / 'masks')


def test_record_says_where_results_come_from(model, photos, clip, tmp_path):
    out = tmp_path / 'out'
    assert run(model, photos, '--out', out, '--seed', '3') == 0
    assert run(model, clip, '--out', out, '--frames', '--batch-size', '2') == 0
    first, *images, second = [entry for entry in entries(out) if 'clip/' not in str(entry)]
    images.sort(key=lambda entry: entry['result'])  # entries come as results are finished
    assert [entry['result'] for entry in images] == ['a #1.png', 'b.c.png']
    frames = [entry['result'] for entry in entries(out)[4:]]
    assert sorted(frames) == [f'clip/{i:06d}.png' for i in range(5)]
    assert {entry['run'] for entry in images} == {first['run']} != {second['run']}
    photo = photos / 'b.c.png'
    assert images[1]['path'] == str(photo)
    assert images[1]['input'] == blake2b(photo.read_bytes(), digest_size=16).hexdigest()
    settings = first['settings']
    assert (settings['type'], settings['seed']) == ('mask', 3)
    assert settings['model']['type'] == 'EncoderDecoder'
    assert first['checkpoint'] == model[1] and len(settings['weights']) == 32
    assert second['batch_size'] == 2 and 'torch' in second['versions']
    before = entries(out)
    assert run(model, photos, '--out', out, '--seed', '3') == 0
    assert entries(out) == before, 'the same run, with nothing to do'


def test_torn_line_of_the_record_is_a_result_to_be_made(model, photos, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(model, photos, '--out', out) == 0
    record = out / 'predict.json'
    record.write_text(record.read_text()[:-20])  # the run was killed: not renamed yet
    (out / 'b.c.png').unlink()
    capsys.readouterr()
    assert run(model, photos, '--out', out) == 0
    assert '1 of 2 written' in capsys.readouterr().out
    assert run(model, photos, '--out', out) == 0
    assert '0 of 2 written' in capsys.readouterr().out


def test_record_of_another_program_is_not_touched(model, photos, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'predict.json').write_text('{"precious": 1}')
    with pytest.raises(SystemExit, match='is not a record of predictions: choose another --out'):
        run(model, photos, '--out', tmp_path / 'out', '--overwrite')
    assert (tmp_path / 'out' / 'predict.json').read_text() == '{"precious": 1}'


@pytest.mark.slow
def test_killed_run_goes_on_where_it_stopped(model, tmp_path, draw_pair, capsys):
    """Killed at several moments; what counts as done afterwards is whole."""
    photos, out = tmp_path / 'photos', tmp_path / 'out'
    photos.mkdir()
    for i in range(150):
        Image.fromarray(draw_pair(i % 5, 300, 400)[0]).save(photos / f'{i:03d}.jpg')
    command = [sys.executable, ROOT / 'tools/predict.py', *model, photos, '--out', out]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    for target in (1, 60):
        process = subprocess.Popen(
            [*map(str, command), '--device', 'cpu'],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and len(list(out.glob('*.png'))) < target:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for path in out.glob('[0-9]*.png'):
            assert Image.open(path).size == (400, 300) and Image.open(path).load()
    finished = len(list(out.glob('[0-9]*.png')))
    assert run(model, photos, '--out', out) == 0
    assert f'{150 - finished} of 150 written' in capsys.readouterr().out


def test_choices_are_those_of_the_package():
    assert set(predict.PRECISIONS) == set(PRECISIONS)
    assert predict.COMPILE_MODES == inference.COMPILE_MODES


def test_images_inside_out_are_inputs(model, photos):
    assert run(model, photos, '--out', photos.parent) == 0
    assert {'a #1.png', 'b.c.png'} <= set(names(photos.parent))


def test_files_beside_the_inputs_are_never_replaced(model, photos):
    (photos / 'a #1.png').write_bytes(b'precious')
    with pytest.raises(SystemExit, match=r'a #1\.png. beside the inputs'):
        run(model, photos / 'a #1.jpg', '--out', photos)
    assert (photos / 'a #1.png').read_bytes() == b'precious'


def test_second_run_does_what_the_first_did_not(model, photos, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(model, photos / 'b.c.png', '--out', out) == 0
    before = (out / 'b.c.png').stat()
    (out / '.123.a #1.png').write_bytes(b'half of a result: the run was killed')
    capsys.readouterr()
    assert run(model, photos, '--out', out) == 0
    printed = capsys.readouterr().out
    assert '1 of 2 written' in printed and '1 were there already' in printed
    after = (out / 'b.c.png').stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert Image.open(out / 'a #1.png').size == (56, 40)
    assert run(model, photos, '--out', out, '--overwrite') == 0
    assert '2 of 2 written' in capsys.readouterr().out
    assert Image.open(out / 'b.c.png').size == (30, 61)


@pytest.mark.parametrize(
    ('options', 'change'),
    [
        (['--type', 'overlay'], 'type mask, now overlay'),
        (['--tf32'], 'tf32 False, now True'),
        (['--seed', '5'], 'seed None, now 5'),
        (['--precision', 'bfloat16'], 'bfloat16'),
        (['--clean', '--threshold', '0.4'], 'threshold None, now 0.4; clean None, now True'),
        (['--box', '0,0,20,20'], r'box None, now \[0, 0, 20, 20\]'),
        ([], 'was changed'),
        ([], 'does not list it'),
    ],
)
def test_results_of_another_run_are_refused(model, photos, tmp_path, options, change):
    out = tmp_path / 'out'
    assert run(model, photos / 'b.c.png', '--out', out) == 0
    if change == 'was changed':
        (out / 'b.c.png').write_bytes(b'precious')
    elif change == 'does not list it':
        (out / 'predict.json').unlink()
    before = (out / 'b.c.png').read_bytes()
    with pytest.raises(SystemExit, match=f'not what this run would make.*{change}.*another --out'):
        run(model, photos, '--out', out, *options)
    assert names(out) == ['b.c.png'] and (out / 'b.c.png').read_bytes() == before
    assert run(model, photos, '--out', out, *options, '--overwrite') == 0
    assert run(model, photos, '--out', out, *options) == 0


def test_results_are_finished_as_options_say(model, photos, tmp_path, capsys):
    Image.new('RGB', (8, 8), 'blue').save(tmp_path / 'blue.png')
    out, image = tmp_path / 'out', photos / 'a #1.jpg'
    options = ['--type', 'cutout', '--crop', '2', '--threshold', '0.6', '--clean', '--size', '90']
    options += ['70', '--background', tmp_path / 'blue.png', '--format', 'webp']
    assert run(model, photos, '--out', out, *options) == 0
    assert names(out) == ['a #1.webp', 'b.c.webp']
    predicted = DISInferencer(*model, device='cpu')(image)
    expected = finish(
        predicted.image,
        predicted.mask,
        ResultOptions(
            'cutout',
            crop=2,
            threshold=0.6,
            clean=True,
            size=(90, 70),
            background=str(tmp_path / 'blue.png'),
        ),
    )
    np.testing.assert_array_equal(np.array(Image.open(out / 'a #1.webp')), np.array(expected))
    capsys.readouterr()
    assert run(model, photos, '--out', out, *options) == 0
    assert '0 of 2 written' in capsys.readouterr().out
    Image.new('RGB', (8, 8), 'red').save(tmp_path / 'blue.png')
    assert run(model, photos, '--out', out, *options) == 0
    assert '2 of another input, config or weights' in capsys.readouterr().out


def test_box_outside_of_an_image_is_reported(model, photos, tmp_path, capsys):
    assert run(model, photos, '--out', tmp_path / 'out', '--box', '40,5,56,40') == 1
    assert names(tmp_path / 'out') == ['a #1.png']
    mask = np.array(Image.open(tmp_path / 'out' / 'a #1.png'))
    assert mask.any() and not mask[:, :38].any()
    assert 'b.c.png: box 40,5,56,40: the image, 30x61, has no' in capsys.readouterr().err


def test_sub_folders_are_kept(model, photos, tmp_path):
    for name in ('x', 'x/y'):
        (photos / name).mkdir()
        (photos / name / 'a #1.jpg').write_bytes((photos / 'a #1.jpg').read_bytes())
    out = tmp_path / 'out'
    assert run(model, photos / '**' / '*.jpg', photos / 'b.c.png', '--out', out, '--keep-tree') == 0
    written = {str(path.relative_to(out)) for path in out.rglob('*.png')}
    assert written == {'a #1.png', 'b.c.png', 'x/a #1.png', 'x/y/a #1.png'}


class TestStreams:
    """Standard input and output."""

    @pytest.fixture
    def stdin(self, photos, monkeypatch) -> None:
        content = (photos / 'b.c.png').read_bytes()
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(content)))

    def test_hold_the_image_alone(self, model, stdin, photos, tmp_path, capsysbinary):
        assert run(model, '-', '--format', 'tiff') == 0
        written = Image.open(io.BytesIO(capsysbinary.readouterr().out))
        assert written.format == 'TIFF' and written.size == (30, 61)
        assert run(model, photos / 'b.c.png', '--out', '-') == 0
        same = Image.open(io.BytesIO(capsysbinary.readouterr().out))
        np.testing.assert_array_equal(np.array(written), np.array(same))
        assert run(model, photos / 'b.c.png', '--out', tmp_path) == 0
        np.testing.assert_array_equal(np.array(written), np.array(Image.open(tmp_path / 'b.c.png')))

    def test_that_hold_no_image_are_refused(self, model, monkeypatch, capsysbinary):
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(b'no image')))
        with pytest.raises(SystemExit, match="cannot read 'standard input' as an image"):
            run(model, '-')
        assert capsysbinary.readouterr().out == b''


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ('a.jpg --quality 50', 'quality in png'),
        ('a.jpg --background red', 'background of type mask'),
        ('a.jpg --type cutout --format jpg', 'jpg has no transparency'),
        ('a.jpg --crop b.jpg', "argument --crop: invalid int value: 'b.jpg'"),
        ('a.jpg --box 5,5,5,9', "'5,5,5,9': expected left,top,right,bottom in pixels"),
        ('a.jpg --box 5,5', "'5,5': expected left,top,right,bottom in pixels"),
        ('a.jpg --keep-tree', "expected a pattern, in quotes, e.g. 'photos/**/*.jpg'"),
        ('- --out out', "the result of input '-' goes to standard output: leave out --out"),
        ('- a.jpg', 'expected one image for standard output'),
        ('photos/* --out -', 'expected one image for standard output'),
        ('- --overwrite', '--overwrite changes nothing of one image to standard output'),
    ],
)
def test_options_without_effect_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        predict.parse_args(arguments.split())
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_arguments_are_parsed_without_heavy_imports():
    program = (
        'import runpy, sys\n'
        f'tool = runpy.run_path({str(ROOT / "tools" / "predict.py")!r})\n'
        'tool["parse_args"](["a.jpg", "--type", "cutout", "--background", "red"])\n'
        'assert not {"cv2", "mmdiffdis", "mmengine", "numpy", "torch"} & sys.modules.keys()\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)


@pytest.mark.parametrize(
    'change', ['input', 'input at the same size and time', 'config', 'weights']
)
def test_results_of_changed_contents_are_made_anew(model, photos, tmp_path, capsys, change):
    out, photo = tmp_path / 'out', photos / 'a.bmp'
    Image.new('RGB', (30, 20)).save(photo)
    assert run(model, photos, '--out', out) == 0
    before = {name: (out / name).stat().st_ino for name in names(out)}
    stale = ['a.png']
    if change == 'input':
        Image.new('RGB', (9, 9)).save(photo)
    elif change == 'config':
        text = Path(model[0]).read_text()
        Path(model[0]).write_text(text.replace('scale=(64, 64)', 'scale=(32, 32)'))
        stale = names(out)
    elif change == 'weights':
        checkpoint = torch.load(model[1])
        checkpoint['state_dict']['decode_head.conv_seg.bias'] += 1
        torch.save(checkpoint, model[1])
        stale = names(out)
    else:
        times = photo.stat().st_atime_ns, photo.stat().st_mtime_ns
        Image.new('RGB', (30, 20), 'red').save(photo)
        os.utime(photo, ns=times)
    capsys.readouterr()
    assert run(model, photos, '--out', out) == 0
    assert f'{len(stale)} of another input, config or weights' in capsys.readouterr().out
    assert [name for name in names(out) if (out / name).stat().st_ino != before[name]] == stale
    assert run(model, photos, '--out', out) == 0
    assert '0 of 3 written' in capsys.readouterr().out


def test_copied_and_touched_files_are_as_they_were(model, photos, tmp_path, capsys):
    out, copies = tmp_path / 'out', tmp_path / 'copies'
    assert run(model, photos, '--out', out) == 0
    copies.mkdir()
    for path in (*out.iterdir(), *photos.iterdir(), Path(model[1])):
        os.utime(path, (0, 0))
        if path.parent == photos:
            (copies / path.name).write_bytes(path.read_bytes())
    renamed = str(Path(model[1]).rename(tmp_path / 'downloaded again.pth'))
    capsys.readouterr()
    assert run([model[0], renamed], copies, '--out', out) == 0
    assert '0 of 2 written' in capsys.readouterr().out


def test_options_without_effect_are_said(model, photos, clip, tmp_path, capsys):
    options = ['--out', tmp_path / 'out', '--tf32', '--frames']
    assert run(model, photos, *options) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if 'without effect' in line]
    assert said == [
        'without effect here: --frames (no video)',
        'without effect here: --tf32 (no NVIDIA GPU)',
    ]
    assert run(model, clip, '--out', tmp_path / 'frames', '--frames') == 0
    assert 'without effect' not in capsys.readouterr().err


def test_interrupted_run_ends_with_its_summary_and_is_resumed(
    model, photos, tmp_path, capsys, monkeypatch
):
    step = DISInferencer.predict

    def interrupt(inferencer, batch):
        if batch[0].index:
            raise KeyboardInterrupt
        return step(inferencer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DISInferencer, 'predict', interrupt)
        assert run(model, photos, '--out', tmp_path / 'out') == 130
    printed = capsys.readouterr()
    assert '1 of 2 written' in printed.out and 'interrupted; the same command' in printed.err
    assert names(tmp_path / 'out') == ['a #1.png']
    assert run(model, photos, '--out', tmp_path / 'out') == 0
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png']


def test_folder_that_cannot_be_written_to_is_refused_before_anything_is_predicted(
    model, photos, tmp_path, monkeypatch
):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(inference, 'load_checkpoint', None)
    with pytest.raises(SystemExit, match='choose another --out'):
        run(model, photos, '--out', tmp_path / 'file' / 'out')


def test_full_disk_ends_the_run_at_once(model, photos, tmp_path, capsys, monkeypatch):
    for i in range(20):
        Image.new('RGB', (9, 9)).save(photos / f'{i}.png')
    predicted, step = [], DISInferencer.predict

    def count(inferencer, batch):
        predicted.extend(batch)
        return step(inferencer, batch)

    def fail(image, path, **options):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(DISInferencer, 'predict', count)
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, 'save', fail)
        assert run(model, photos, '--out', tmp_path / 'out') == 1
    printed = capsys.readouterr()
    assert '0 of 22 written' in printed.out and 'skipped' not in printed.err
    assert 'stopped: [Errno 28] No space left on device; the same command goes on' in printed.err
    assert len(predicted) < 8 and names(tmp_path / 'out') == []
    assert run(model, photos, '--out', tmp_path / 'out') == 0
    assert '22 of 22 written' in capsys.readouterr().out


def test_result_that_cannot_be_written_is_reported_and_leaves_nothing(
    model, photos, tmp_path, capsys, monkeypatch
):
    save = Image.Image.save

    def fail_half_way(image, path, **options):
        path.write_bytes(b'half')
        if image.size == (56, 40):
            raise OSError('no space left')
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, 'save', fail_half_way)
    assert run(model, photos, '--out', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['b.c.png']
    assert 'a #1.jpg: no space left' in capsys.readouterr().err


def test_batches_and_precision_give_the_same_masks(model, photos, tmp_path):
    for name, options in [('one', []), ('two', ['--batch-size', '2', '--channels-last'])]:
        assert run(model, photos, '--out', tmp_path / name, *options) == 0
    for name in ('a #1.png', 'b.c.png'):
        one, two = (np.array(Image.open(tmp_path / k / name)).astype(int) for k in ('one', 'two'))
        assert np.abs(one - two).max() <= 1
    with pytest.raises(SystemExit, match='--batch-size 0: expected at least 1'):
        run(model, photos, '--out', tmp_path / 'out', '--batch-size', '0')


def test_out_that_is_a_file_is_refused(model, photos, tmp_path):
    (tmp_path / 'out').write_text('precious')
    with pytest.raises(SystemExit, match='out. is a file: expected a folder'):
        run(model, photos, '--out', tmp_path / 'out')
    assert (tmp_path / 'out').read_text() == 'precious'


def test_out_without_a_name_is_refused(model, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    with pytest.raises(SystemExit):
        run(model, photos, '--out', '')
    assert "--out: is empty (''); '.' is the current folder" in capsys.readouterr().err
    assert names(tmp_path) == before


@pytest.fixture
def clip(tmp_path, draw_pair) -> Path:
    """A video of five frames, 56x40 pixels, eight a second."""
    path = tmp_path / 'clips' / 'clip.mp4'
    path.parent.mkdir()
    writer = VideoWriter(path, fps=8)
    for seed in range(5):
        writer.write(draw_pair(seed)[0])
    writer.close()
    return path


@pytest.mark.parametrize('kind', ['mask', 'overlay'])
def test_video_becomes_a_video(model, clip, tmp_path, kind):
    assert run(model, clip, '--out', tmp_path / 'out', '--type', kind) == 0
    assert names(tmp_path / 'out') == ['clip.mp4']
    reader = VideoReader(tmp_path / 'out' / 'clip.mp4')
    assert reader.fps == 8
    assert [frame.shape for frame in reader] == [(40, 56, 3)] * 5


@pytest.mark.parametrize('change', ['type', 'seed', 'was changed'])
def test_video_of_another_run_is_refused(model, clip, tmp_path, capsys, change):
    out = tmp_path / 'out'
    assert run(model, clip, '--out', out) == 0
    assert run(model, clip, '--out', out) == 0
    assert '0 of 1 written' in capsys.readouterr().out.splitlines()[-2]
    options = {'type': ['--type', 'overlay'], 'seed': ['--seed', '5']}.get(change, [])
    if change == 'was changed':
        (out / 'clip.mp4').write_bytes(clip.read_bytes())
    before = (out / 'clip.mp4').read_bytes()
    with pytest.raises(SystemExit, match=f'not what this run would make.*{change}.*another --out'):
        run(model, clip, '--out', out, *options)
    assert names(out) == ['clip.mp4'] and (out / 'clip.mp4').read_bytes() == before
    assert run(model, clip, '--out', out, *options, '--overwrite') == 0
    assert run(model, clip, '--out', out, *options) == 0


def test_frames_have_the_masks_of_single_images(model, clip, tmp_path):
    assert run(model, clip, '--out', tmp_path / 'out', '--frames', '--type', 'cutout') == 0
    written = sorted((tmp_path / 'out' / 'clip').iterdir())
    assert [path.name for path in written] == [f'{i:06d}.png' for i in range(5)]
    inferencer = DISInferencer(*model, device='cpu')
    for frame, path in zip(VideoReader(clip), written, strict=True):
        expected = inferencer(frame, stem='clip').cutout()
        np.testing.assert_array_equal(np.array(Image.open(path)), expected)


def test_options_of_results_in_videos(model, clip, tmp_path, capsys):
    options = ['--type', 'cutout', '--background', 'blur', '--crop', '--size', '64', '48']
    assert run(model, clip, '--out', tmp_path / 'out', *options) == 0
    assert 'without effect here: --crop (a video, without --frames)' in capsys.readouterr().err
    frames = [*VideoReader(tmp_path / 'out' / 'clip.mp4')]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    options += ['--frames', '--format', 'jpg']
    assert run(model, clip, '--out', tmp_path / 'frames', *options) == 0
    assert 'without effect' not in capsys.readouterr().err
    written = sorted((tmp_path / 'frames' / 'clip').iterdir())
    assert [path.name for path in written] == [f'{i:06d}.jpg' for i in range(5)]
    with pytest.raises(SystemExit, match=r'000000\.jpg. is not what.*crop 0, now None'):
        run(model, clip, '--out', tmp_path / 'frames', *options[:4], '--frames', '--format', 'jpg')


def test_frames_of_another_run_are_not_replaced(model, clip, tmp_path):
    out = tmp_path / 'out'
    assert run(model, clip, '--out', out, '--frames') == 0
    before = [path.read_bytes() for path in sorted((out / 'clip').iterdir())]
    with pytest.raises(SystemExit, match=r'000000\.png. is not what.*type mask, now overlay'):
        run(model, clip, '--out', out, '--frames', '--type', 'overlay')
    (out / 'clip' / '000003.png').unlink()
    assert run(model, clip, '--out', out, '--frames') == 0
    assert [path.read_bytes() for path in sorted((out / 'clip').iterdir())] == before
    assert run(model, clip, '--out', out, '--frames', '--type', 'overlay', '--overwrite') == 0


def test_broken_video_is_reported_and_the_others_are_done(model, clip, photos, tmp_path, capsys):
    (photos / 'broken.mp4').write_text('no video')
    assert run(model, photos, clip, '--out', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png', 'clip.mp4']
    assert re.search(r"skipped .*broken.mp4: cannot read '.*' as a video", capsys.readouterr().err)


@pytest.mark.parametrize('options', [[], ['--frames']])
def test_video_without_frames_is_reported(model, tmp_path, capsys, options):
    empty = cv2.VideoWriter(
        str(tmp_path / 'empty.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 24, (8, 8)
    )
    empty.release()
    assert run(model, tmp_path / 'empty.avi', '--out', tmp_path / 'out', *options) == 1
    assert 'empty.avi: the video has no frames' in capsys.readouterr().err


@pytest.mark.parametrize('options', [[], ['--overwrite']])
def test_video_never_replaces_itself(model, clip, options):
    before = clip.read_bytes()
    with pytest.raises(SystemExit, match=r'clip\.mp4. beside the inputs'):
        run(model, clip, '--out', clip.parent, *options)
    assert clip.read_bytes() == before


def test_transparent_video_is_refused(model, clip, tmp_path):
    with pytest.raises(SystemExit, match='cannot be transparent: choose --background, --frames'):
        run(model, clip, '--out', tmp_path / 'out', '--type', 'cutout')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([''], r"an input is empty \(''\)"),
        (['nowhere.jpg'], "'nowhere.jpg' is no file, no folder and matches no file"),
        (['empty'], r"the folder 'empty' has no files; sub-folders: 'empty/\*\*/\*'"),
    ],
)
def test_mistaken_inputs_end_in_one_line(model, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path('empty').mkdir()
    with pytest.raises(SystemExit, match=message):
        run(model, *arguments, '--out', tmp_path / 'out')


def test_mistaken_model_ends_in_one_line(model, photos, tmp_path):
    with pytest.raises(SystemExit, match=r'error: .*nowhere\.py') as caught:
        run(['nowhere.py', model[1]], photos, '--out', tmp_path / 'out')
    assert '\n' not in str(caught.value)
    with pytest.raises(SystemExit, match=r'error: .*nowhere\.pth'):
        run([model[0], 'nowhere.pth'], photos, '--out', tmp_path / 'out')


def test_cutout_keeps_profile_resolution_and_transparency(model, photos, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    image = Image.open(photos / 'b.c.png')
    image.putalpha(Image.linear_gradient('L').resize(image.size))
    image.save(photos / 'b.c.png', icc_profile=profile, dpi=(300, 300))
    for kind in ('mask', 'cutout', 'overlay'):
        out = tmp_path / kind
        assert run(model, photos / 'b.c.png', '--out', out, '--type', kind) == 0
    mask = Image.open(tmp_path / 'mask' / 'b.c.png')
    assert 'icc_profile' not in mask.info  # it has no colours
    cutout = Image.open(tmp_path / 'cutout' / 'b.c.png')
    for result in (cutout, Image.open(tmp_path / 'overlay' / 'b.c.png')):
        assert result.info['icc_profile'] == profile
        np.testing.assert_allclose(result.info['dpi'], (300, 300), atol=0.1)
    alpha = np.array(mask) / 255 * np.array(image.getchannel('A'))
    np.testing.assert_allclose(np.array(cutout)[..., 3], alpha, atol=1.01)


def test_images_in_which_nothing_was_found_are_counted(
    model, photos, clip, tmp_path, capsys, monkeypatch
):
    step = DISInferencer.predict

    def find_nothing(inferencer, batch):
        results = step(inferencer, batch)
        return [replace(each, mask=each.mask * 0 + (each.stem == 'a #1')) for each in results]

    monkeypatch.setattr(DISInferencer, 'predict', find_nothing)
    assert run(model, photos, clip, '--out', tmp_path / 'out') == 0
    printed = capsys.readouterr().out
    assert 'nothing was found in 2, no pixel of which is above 0.5:' in printed
    assert f'  {photos / "b.c.png"}\n  {clip}\n' in printed
    assert str(photos / 'a #1.jpg') not in printed
    assert 'videos were written without the sound of their inputs' in printed


def test_further_frames_are_warned_of_and_counted(model, tmp_path, monkeypatch, capsys):
    warnings = []
    monkeypatch.setattr(inference, 'print_log', lambda text, **_: warnings.append(text))
    frames = [Image.new('RGB', (30, 20), colour) for colour in ('red', 'green')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    assert run(model, tmp_path / 'a.gif', '--out', tmp_path / 'out') == 0
    assert (
        f'{tmp_path / "a.gif"} has several frames or pages: only the first is predicted' in warnings
    )
    printed = capsys.readouterr().out
    assert f'only the first frame or page was predicted of 1:\n  {tmp_path / "a.gif"}\n' in printed


def test_video_among_images_leaves_their_cutouts(model, photos, clip, tmp_path, capsys):
    assert run(model, photos, clip, '--out', tmp_path / 'out', '--type', 'cutout') == 1
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png']
    assert 'clip.mp4: a video cannot be transparent: choose --background' in capsys.readouterr().err


def test_long_names(model, photos, tmp_path):
    name = 'a' * 250
    (photos / 'b.c.png').rename(photos / f'{name}.png')
    assert run(model, photos, '--out', tmp_path / 'out') == 0
    assert f'{name}.png' in names(tmp_path / 'out')


@pytest.mark.parametrize('options', [[], ['--frames']])
def test_names_that_are_not_utf_8(model, photos, clip, tmp_path, capsys, options):
    """OpenCV would end the process at the name of a video."""
    name = os.fsdecode(b'caf\xe9')
    image, video = photos / f'{name}.png', clip.with_name(f'{name} 2.mp4')
    (photos / 'b.c.png').rename(image)
    clip.rename(video)
    command = [photos, video, '--out', tmp_path / 'out', *options]
    for written in (3, 0 if not options else 1):
        assert run(model, *command) == 0
        assert f'{written} of 3 written' in capsys.readouterr().out
    suffix = '' if options else '.mp4'
    assert {f'{name}.png', f'{name} 2{suffix}'} < set(names(tmp_path / 'out'))


class TestModels:
    """Positional arguments that name a model, and those that are inputs."""

    @pytest.mark.parametrize(
        ('names', 'expected'),
        [
            ('a.jpg b.jpg', ('u2netp', 'u2netp', ['a.jpg', 'b.jpg'])),
            ('*/a[1]', ('u2netp', 'u2netp', ['*/a[1]'])),
            ('there diffdis', ('u2netp', 'u2netp', ['there', 'diffdis'])),
            ('diffdis_tiny a b', ('diffdis_tiny', 'diffdis_tiny', ['a', 'b'])),
            ('diffdis_tiny diffdis_tiny a', ('diffdis_tiny', 'diffdis_tiny', ['a'])),
            ('u2netp mine.pth a', ('u2netp', 'mine.pth', ['a'])),
            ('a.py weights a', ('a.py', 'weights', ['a'])),
            ('there mmdiffdis://u2netp a', ('there', 'mmdiffdis://u2netp', ['a'])),
            ('a_config weights a b', ('a_config', 'weights', ['a', 'b'])),
        ],
    )
    def test_are_told_from_inputs(self, tmp_path, monkeypatch, names, expected):
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'there').mkdir()
        args = predict.parse_args(names.split())
        assert (args.config, args.checkpoint, args.input) == expected

    @pytest.mark.parametrize('names', ['u2netp', 'a.py b.pth', 'photos', 'u2netp b.pth'])
    def test_need_inputs(self, tmp_path, monkeypatch, capsys, names):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit):
            predict.parse_args(names.split())
        assert f'error: {names}: expected ' in capsys.readouterr().err

    def test_names_are_those_of_the_package(self):
        assert predict.MODELS[0] == 'u2netp'
        for name in predict.MODELS:
            assert DISInferencer(name, name, 'cpu').model is not None


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('photo.jpg', 'cutouts'),
        ('a/photo.jpg', 'a/cutouts'),
        ('a/b', 'a/cutouts'),
        ('a/*.jpg', 'a/cutouts'),
        ('a/**/b/c*', 'a/cutouts'),
        ('*.jpg', 'cutouts'),
        ('a/x[1].jpg', 'a/cutouts'),
    ],
)
def test_results_are_beside_the_input_without_out(tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'a' / 'x[1].jpg').touch()
    assert predict.parse_args([name, '--type', 'cutout']).out == Path(expected)


@pytest.fixture
def many(tmp_path) -> Path:
    """A list of seven images, one of which cannot be read."""
    (tmp_path / 'many').mkdir()
    for i in range(6):
        Image.new('L', (9, 7), 40 * i).save(tmp_path / 'many' / f'{i}.png')
    (tmp_path / 'many' / 'broken.png').write_text('no image')
    images = sorted((tmp_path / 'many').iterdir())
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, images)) + '\n\n')
    return tmp_path / 'list.txt'


def made(out: Path) -> list[str]:
    return sorted(entry['result'] for entry in entries(out) if 'result' in entry)


def test_shards_do_each_input_once(model, many, tmp_path, capsys, monkeypatch):
    out, step = tmp_path / 'out', DISInferencer.predict

    def interrupt(inferencer, batch):
        if batch[0].stem == '3':
            raise KeyboardInterrupt
        return step(inferencer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(DISInferencer, 'predict', interrupt)
        assert run(model, f'@{many}', '--out', out, '--shard', '2/2') == 130
    assert made(out) == ['1.png'] and (out / 'predict-2-of-2.json').exists()
    monkeypatch.setenv('SLURM_PROCID', '0')
    monkeypatch.setenv('SLURM_NTASKS', '2')
    capsys.readouterr()
    assert run(model, f'@{many}', '--out', out) == 1
    printed = capsys.readouterr().out
    assert 'share 1/2 (SLURM_PROCID and SLURM_NTASKS): 4 of 7 inputs' in printed
    assert '3 of 4 written' in printed and 'all shares: 4 of 7 are done, 1 skipped\n' in printed
    assert f'  {many.parent / "many" / "broken.png"}: cannot' in printed
    for shard, expected in [('3/3', 5), ('1/3', 6), ('2/3', 6)]:  # of another number
        assert run(model, f'@{many}', '--out', out, '--shard', shard) == (shard == '1/3')
        assert f'all shares: {expected} of 7 are done' in capsys.readouterr().out
    assert made(out) == names(out) == [f'{i}.png' for i in range(6)]
    assert run(model, f'@{many}', '--out', out, '--shard', '1/1') == 1
    assert '0 of 7 written' in capsys.readouterr().out
    # made anew by one shard, the result of another counts
    assert run(model, f'@{many}', '--out', out, '--seed', '5', '--overwrite', '--shard', '1/1') == 1
    assert run(model, f'@{many}', '--out', out, '--seed', '5') == 1
    assert 'all shares: 6 of 7 are done' in capsys.readouterr().out
    assert len(made(out)) == 12


def test_shards_refuse_inputs_where_others_write(model, photos):
    with pytest.raises(SystemExit, match='inputs in --out .*, to which the other shards write'):
        run(model, photos, '--out', photos.parent, '--shard', '1/2')


def test_processes_begin_a_record_at_the_same_time(tmp_path):
    records = [Record(tmp_path) for _ in range(2)]
    for i, record in enumerate(records):
        record.set_run({'seed': i}, {})
    for record in records:  # neither has read the other's
        record.start()
    assert [entry['settings']['seed'] for entry in entries(tmp_path)] == [0, 1]
    assert len(Record(tmp_path)._runs) == 2


@pytest.mark.slow
def test_processes_of_torchrun_wait_for_each_other(model, many, tmp_path):
    """The first to end has skipped a file, and its failure ends the others."""
    command = ['-m', 'torch.distributed.run', '--nproc-per-node', '2', ROOT / 'tools/predict.py']
    result = subprocess.run(
        [sys.executable, *command, *model, f'@{many}', '--out', tmp_path / 'out'],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stdout.count('all shares: 6 of 7 are done, 1 skipped') == 1, result.stderr
    assert made(tmp_path / 'out') == [f'{i}.png' for i in range(6)]
