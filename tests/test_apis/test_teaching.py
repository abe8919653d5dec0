"""Masks of a teacher are kept or rejected."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import load_tool
from PIL import Image

from mmdiffdis.apis import DISInferencer

tool = load_tool('dataset_converters/teach.py')
HALF = np.repeat(np.float32([[1, 0]]), 4, axis=0)
# photograph -> what the teacher says of it
MASKS = {
    'agrees': HALF,
    'disagrees': HALF,
    'sure': HALF,
    'unsure': HALF * 0.6,
    'empty': HALF * 0,
}


@pytest.fixture
def teach(stock_config, stock_checkpoint, tmp_path, monkeypatch, capsys):
    """Returns a function that teaches five photographs, with given masks of two, and its output."""
    config = stock_config(2)
    model = [str(config), str(stock_checkpoint(config))]
    for folder in ('photographs', 'given'):
        (tmp_path / folder).mkdir()
    for stem in MASKS:
        Image.new('RGB', (2, 4)).save(tmp_path / f'photographs/{stem}.jpg')
    Image.fromarray(np.uint8(HALF * 255)).save(tmp_path / 'given/agrees.png')
    Image.fromarray(np.uint8(255 - HALF * 255)).save(tmp_path / 'given/disagrees_mask.png')
    step, predicted = DISInferencer.predict, []

    def predict(inferencer, batch):
        predicted.extend(image.stem for image in batch)
        return [replace(each, mask=MASKS[each.stem]) for each in step(inferencer, batch)]

    monkeypatch.setattr(DISInferencer, 'predict', predict)

    def run(*options: str) -> tuple[int, str, list[str]]:
        predicted.clear()
        arguments = [*model, str(tmp_path / 'photographs'), '--out', str(tmp_path / 'out')]
        code = tool.main([*arguments, '--device', 'cpu', *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err, [*predicted]

    return run


def kept(out: Path) -> list[str]:
    assert [path.stem for path in sorted((out / 'im').iterdir())] == (
        found := [path.stem for path in sorted((out / 'gt').iterdir())]
    )
    return found


def test_masks_are_kept_where_they_agree_or_are_sure(teach, tmp_path):
    given = ['--gt', str(tmp_path / 'given')]
    (tmp_path / 'photographs/broken.jpg').write_text('no image')
    code, printed, predicted = teach(*given, '--batch-size', '2')
    assert code == 1 and sorted(predicted) == sorted(MASKS)
    assert kept(tmp_path / 'out') == ['agrees', 'sure']
    assert (np.array(Image.open(tmp_path / 'out/gt/sure.png')) == HALF * 255).all()
    assert '2 of 5 kept' in printed and '3 rejected:' in printed
    for line in ('disagrees.jpg: agreement 0.000', 'unsure.jpg: sureness 0.000', 'broken.jpg: '):
        assert line in printed
    verdicts = (tmp_path / 'out/verdicts.csv').read_text()
    assert 'agrees.jpg,1,agreement 1.000' in verdicts and 'empty.jpg,0,sureness 0' in verdicts

    (tmp_path / 'photographs/broken.jpg').unlink()
    code, printed, predicted = teach(*given)
    assert code == 0 and not predicted and '2 of 5 kept' in printed
    with pytest.raises(SystemExit, match='holds results of other settings: least_sureness changed'):
        teach(*given, '--sure', '0.5')


def test_given_masks_of_another_size_are_reported(teach, tmp_path):
    Image.new('L', (9, 9)).save(tmp_path / 'given/agrees.png')
    code, printed, _ = teach('--gt', str(tmp_path / 'given'))
    assert code == 1 and "agrees.png' has another size" in printed
    assert kept(tmp_path / 'out') == ['sure']


def test_folder_without_given_masks_is_refused(teach, tmp_path):
    (tmp_path / 'none').mkdir()
    with pytest.raises(SystemExit, match='no masks in'):
        teach('--gt', str(tmp_path / 'none'))
