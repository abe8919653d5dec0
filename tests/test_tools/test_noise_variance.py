"""Deviations of tools/analysis_tools/noise_variance.py and of masks predicted seed by seed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_tool, tiny_config
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from mmdiffdis.apis import DISInferencer

tool = load_tool('analysis_tools/noise_variance.py')


@pytest.fixture
def model(tmp_path):
    """Writes a tiny diffusion model, with or without DBIA; returns CONFIG and CKPT."""

    def write(interaction: str | None = 'mutual') -> list[str]:
        pipeline = [dict(type='DISResize', scale=(64, 64)), dict(type='PackDISInputs')]
        cfg = Config(
            dict(model=tiny_config(neck=dict(interaction=interaction)), test_pipeline=pipeline)
        )
        path = tmp_path / f'dbia_{interaction}.py'
        cfg.dump(path)
        torch.manual_seed(0)
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), path.with_suffix('.pth'))
        return [str(path), str(path.with_suffix('.pth'))]

    return write


@pytest.fixture
def image(tmp_path, draw_pair) -> str:
    Image.fromarray(draw_pair(0, 40, 56)[0]).save(tmp_path / 'a #1.jpg')
    return str(tmp_path / 'a #1.jpg')


@pytest.mark.slow
def test_deviation_is_that_of_single_predictions(model, image, tmp_path, capsys):
    models = [model('mutual'), model(None)]
    out = tmp_path / 'out'
    flags = [text for pair in models for text in ('--model', *pair)]
    tool.main([image, *flags, '--seeds', '3', '--out', str(out), '--device', 'cpu'])
    written = json.loads((out / 'noise_variance.json').read_text())
    assert written['seeds'] == [0, 1, 2]
    for (config, checkpoint), measured in zip(models, written['models'], strict=True):
        masks = [
            DISInferencer(config, checkpoint, 'cpu', seed=seed)(image).mask.astype(np.float64)
            for seed in range(3)
        ]
        variance = sum((mask - sum(masks) / 3) ** 2 for mask in masks) / 3
        assert measured['deviation'] == pytest.approx(np.sqrt(variance).mean(), rel=1e-4)
        assert measured['deviation'] > 1e-3
        assert measured['pictures'] == {image: measured['deviation']}
        assert (measured['config'], measured['checkpoint']) == (config, checkpoint)
    first, second = (measured['deviation'] for measured in written['models'])
    assert first != second
    table = capsys.readouterr().out
    assert f'{first:.5f}' in table and f'{second:.5f}' in table and 'dbia_mutual' in table
    with Image.open(out / 'a #1.png') as drawing:
        assert drawing.width == 3 * 384 + 2 * 6 and drawing.height > 2 * 384 * 40 // 56


def test_drawing_has_a_row_per_model_and_one_scale():
    grey = np.full((30, 60, 3), 90, np.uint8)
    still, moving = np.zeros((30, 60), np.float32), np.zeros((30, 60), np.float32)
    moving[:, 30:] = 0.2
    mean = np.ones((30, 60), np.float32)
    drawing = tool.draw([tool.Spread(grey, mean, still), tool.Spread(grey, mean, moving)], 60)
    upper, lower = np.vsplit(drawing, 2)
    for row in (upper, lower):
        assert (row[-10, :60] == 90).all() and (row[-10, 66:126] == 255).all()
    assert (upper[-10, 132:] == upper[-10, 132]).all() and upper[-10, 132].sum() < 20  # black
    assert (lower[-10, 132] == upper[-10, 132]).all()
    assert lower[-10, -1].min() > 100  # the brightest colour


def test_bad_image_loses_nothing_of_the_others(model, image, tmp_path, capsys):
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(Path(image).read_bytes()[:200])
    out = tmp_path / 'out'
    arguments = ['--model', *model(), '--seeds', '2', '--out', str(out), '--device', 'cpu']
    assert tool.main([str(broken), image, *arguments]) == 1
    printed = capsys.readouterr()
    assert f"skipped {broken}: cannot read '{broken}'" in printed.err and '| 1 |' in printed.out
    (measured,) = json.loads((out / 'noise_variance.json').read_text())['models']
    assert list(measured['pictures']) == [image] and measured['deviation'] > 0
    assert tool.main([str(broken), *arguments]) == 1
    assert 'mean deviation' not in capsys.readouterr().out


def test_originals_are_never_written_through_links(model, image, tmp_path, monkeypatch):
    """The guard is `name_results`; writing does not follow links either."""
    original = tmp_path / 'original.png'
    original.write_bytes(b'precious')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a #1.png').symlink_to(original)
    arguments = ['--model', *model(), '--seeds', '2', '--device', 'cpu', '--out']
    assert tool.main([image, *arguments, str(tmp_path / 'out')]) == 0
    assert original.read_bytes() == b'precious'
    with pytest.raises(SystemExit, match='is a folder of inputs: choose another'):
        tool.main([str(tmp_path), *arguments, str(tmp_path)])
    monkeypatch.setattr(tool, 'load_model', None)
    with pytest.raises(SystemExit, match='choose another --out'):
        tool.main([image, *arguments, str(original / 'out')])


def test_mistakes_end_in_one_line(model, image, tmp_path, stock_config, stock_checkpoint):
    out = ['--out', str(tmp_path / 'out'), '--device', 'cpu']
    stock = stock_config(1)
    with pytest.raises(SystemExit, match='EncoderDecoder starts from no noise'):
        tool.main([image, '--model', str(stock), str(stock_checkpoint(stock)), *out])
    with pytest.raises(SystemExit, match='--seeds 1: expected at least 2'):
        tool.main([image, '--model', *model(), '--seeds', '1', *out])
    with pytest.raises(SystemExit, match="'nowhere.jpg' is no file"):
        tool.main(['nowhere.jpg', '--model', *model(), *out])
