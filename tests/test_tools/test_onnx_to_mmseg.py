"""tools/model_converters/onnx_to_mmseg.py, with exported files and with those that are published.

Tests marked `published` read u2netp.onnx and isnet.onnx in the folder MMDIFFDIS_WEIGHTS.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_tool
from mmengine.runner import load_checkpoint
from onnx_files import ISNET, U2NET, Released, build, export
from PIL import Image
from safetensors import safe_open
from skimage import data

from mmdiffdis.apis import DISInferencer
from mmdiffdis.checkpoints import onnx as onnx_module

TOOL = 'model_converters/onnx_to_mmseg.py'
FULL_U2NETP = 'u2netp_1xb12-600k_dis5k-320x320'
FULL_ISNET = 'isnet_1xb8_dis5k-1024x1024'


@pytest.fixture
def convert(tmp_path, capsys):
    """Runs the tool; returns the checkpoint's path and what it printed."""
    tool = load_tool(TOOL)

    def run(onnx, config, *options, out='out.safetensors'):
        out = tmp_path / out
        tool.main([str(onnx), '--config', Path(config).name, '--out', str(out), *options])
        return out, capsys.readouterr().out

    return run


def error_of(convert, *arguments, **options) -> str:
    with pytest.raises(SystemExit) as caught:
        convert(*arguments, **options)
    assert len(caught.value.code.splitlines()) == 1
    return caught.value.code


def largest_difference(printed: str) -> float:
    rows = [line.rsplit(': ', 1) for line in printed.splitlines() if line.startswith('  ')]
    return max(float(difference) for _, difference in rows)


@pytest.mark.slow
def test_checkpoint_is_loaded_strictly_and_keeps_the_numbers(convert, tmp_path):
    original = build(U2NET, seed=1)
    onnx = export(Released(original), tmp_path / 'some.onnx')
    out, printed = convert(onnx, U2NET)
    assert largest_difference(printed) < 1e-5 and len(printed.splitlines()) == 1 + 7 + 1
    model = build(U2NET)
    load_checkpoint(model, str(out), strict=True)
    images = torch.rand(1, 3, 80, 96)
    with torch.no_grad():
        torch.testing.assert_close(model.run(images)[0], original.run(images)[0])
    with safe_open(out, 'pt') as file:
        assert file.metadata() == dict(source='some.onnx', config=Path(U2NET).name)


@pytest.mark.slow
def test_half_precision_and_pruned_outputs(convert, tmp_path):
    onnx = export(Released(build(ISNET, seed=1), outputs=1), tmp_path / 'some.onnx')
    out, printed = convert(onnx, ISNET, '--dtype', 'float16')
    assert 'without influence on the mask, zero: side2, side3, side4, side5, side6' in printed
    with safe_open(out, 'pt') as file:
        assert file.get_tensor('conv_in.weight').dtype == torch.float16


def test_files_that_do_not_fit_or_differ_are_refused_and_nothing_is_written(
    convert, tmp_path, monkeypatch
):
    onnx = export(Released(build(ISNET, seed=1)), tmp_path / 'some.onnx')
    assert '2 missing: outconv.weight' in error_of(convert, onnx, U2NET)
    assert 'ends in .safetensors' in error_of(convert, onnx, ISNET, out='out.pth')
    monkeypatch.setattr(onnx_module, 'differences', lambda *_: {'a': 0.5})
    assert 'differ by 5.0e-01; expected 1e-04 at most' in error_of(convert, onnx, ISNET)
    assert not list(tmp_path.glob('out*'))


@pytest.mark.slow
def test_without_onnxruntime_nothing_is_compared(convert, tmp_path, monkeypatch):
    onnx = export(Released(build(ISNET, seed=1)), tmp_path / 'some.onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    out, printed = convert(onnx, ISNET)
    assert out.is_file() and 'onnxruntime is not installed' in printed


# --- published files -----------------------------------------------------------------------------


@pytest.fixture
def published():
    """Returns the path of a published file."""
    folder = os.environ.get('MMDIFFDIS_WEIGHTS')

    def find(name: str) -> Path:
        if not folder or not Path(folder, name).is_file():
            pytest.skip(f'there is no {name} in MMDIFFDIS_WEIGHTS')
        return Path(folder, name)

    return find


@pytest.mark.published
@pytest.mark.parametrize(
    ('name', 'config', 'outputs', 'tolerance'),
    [('u2netp.onnx', FULL_U2NETP, 7, 1e-5), ('isnet.onnx', FULL_ISNET, 12, 1e-3)],
)
def test_published_file_equals_onnxruntime(convert, published, name, config, outputs, tolerance):
    _, printed = convert(published(name), config)
    print(printed)
    assert len(printed.splitlines()) == 1 + outputs + 1
    assert largest_difference(printed) < tolerance


def rembg_mask(session, image: Image.Image) -> np.ndarray:
    """Returns the mask [H, W] in [0, 1] that rembg makes of an image with U2-Net-p."""
    resized = np.array(image.resize((320, 320), Image.Resampling.LANCZOS))
    x = (resized / resized.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = x.transpose(2, 0, 1)[None].astype(np.float32)
    mask = session.run(None, {session.get_inputs()[0].name: x})[0][0, 0]
    mask = (mask - mask.min()) / (mask.max() - mask.min())
    mask = Image.fromarray(np.uint8(mask * 255)).resize(image.size, Image.Resampling.LANCZOS)
    return np.array(mask) / 255


@pytest.mark.published
@pytest.mark.parametrize('name', ['astronaut', 'chelsea', 'coffee', 'rocket'])
def test_shipped_weights_give_the_masks_of_rembg_apart_from_resizing(published, name):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(published('u2netp.onnx')))
    image = Image.fromarray(getattr(data, name)())
    expected = rembg_mask(session, image)
    mask = DISInferencer(FULL_U2NETP, 'mmdiffdis://u2netp', device='cpu')(image).mask
    difference = np.abs(mask - expected).mean() * 255
    overlap = (mask > 0.5) & (expected > 0.5)
    iou = overlap.sum() / ((mask > 0.5) | (expected > 0.5)).sum()
    print(f'{name}: mean difference {difference:.2f} of 255, IoU {iou:.4f}')
    assert difference < 8 and iou > 0.94
