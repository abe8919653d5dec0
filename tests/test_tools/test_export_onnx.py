"""tools/deployment/export_onnx.py, and tools/predict.py with its files."""

import json

import numpy as np
import pytest
from conftest import load_tool
from PIL import Image

from mmdiffdis.apis import DISInferencer
from mmdiffdis.models.onnx_segmentor import read_metadata

export = load_tool('deployment/export_onnx.py')
predict = load_tool('predict.py')


def error_of(*arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        export.main([*map(str, arguments)])
    assert len(caught.value.code.splitlines()) == 1
    return caught.value.code


@pytest.mark.slow
def test_exported_file_stands_for_config_and_weights(
    stock_config, stock_checkpoint, draw_pair, tmp_path, capsys
):
    config = stock_config(2)
    weights, file = stock_checkpoint(config), tmp_path / 'new' / 'fcn.onnx'
    arguments = [config, weights, '--out', file, '--size', 48, 80]
    export.main([*map(str, arguments)])
    printed = capsys.readouterr().out.splitlines()[-4:]  # after MMEngine's line
    assert printed[0] == f'{file}: ONNX opset 18, float32'
    assert printed[1:3] == [
        '  input  image  [batch, 3, 48, 80] float32',
        '  output mask   [batch, 1, height, width] float32',
    ]
    assert printed[3].startswith('masks of photographs differ from those of PyTorch by 0.0')
    about = read_metadata(file)
    assert about['image']['size'] == [48, 80] and about['mask']['activation'] == 'sigmoid'

    (tmp_path / 'photos').mkdir()
    for seed in range(3):
        Image.fromarray(draw_pair(seed)[0]).save(tmp_path / 'photos' / f'{seed}.png')
    command = [file, tmp_path / 'photos', '--out', tmp_path / 'out', '--device', 'cpu']
    command = [*map(str, command), '--batch-size', '2']
    assert predict.main(command) == 0
    expected = DISInferencer(config, weights, device='cpu')
    expected.pipeline = DISInferencer(file, None, device='cpu').pipeline
    for seed in range(3):
        mask = np.array(Image.open(tmp_path / 'out' / f'{seed}.png')) / 255
        assert mask.std() > 0
        result = expected(tmp_path / 'photos' / f'{seed}.png').mask
        np.testing.assert_allclose(mask, result, atol=0.51 / 255)
    assert predict.main(command) == 0
    assert '3 were there already' in capsys.readouterr().out
    record = [json.loads(line) for line in (tmp_path / 'out' / 'predict.json').open()]
    assert record[0]['config'] == str(file) and record[0]['checkpoint'] is None

    with pytest.raises(SystemExit, match='predicts no edges: choose another --type'):
        predict.main([*command, '--type', 'edge', '--overwrite'])
    assert predict.main([*command, '--seed', '1', '--overwrite']) == 0
    assert '--seed (the model has no noise)' in capsys.readouterr().err


def test_mistakes_end_in_one_line(stock_config, tmp_path):
    config = stock_config(2)
    assert 'ends in .onnx' in error_of(config, 'a.pth', '--out', tmp_path / 'a.pb')
    assert 'nowhere does not exist' in error_of('nowhere', 'a.pth', '--out', tmp_path / 'a.onnx')
    assert 'a.pth' in error_of(config, tmp_path / 'a.pth', '--out', tmp_path / 'a.onnx')


def test_images_are_expected_after_an_onnx_file(capsys):
    with pytest.raises(SystemExit):
        predict.parse_args(['model.onnx'])
    assert 'model.onnx: expected files, folders or patterns after' in capsys.readouterr().err
    args = predict.parse_args(['model.onnx', 'a.jpg'])
    assert (args.config, args.checkpoint, args.input) == ('model.onnx', None, ['a.jpg'])
