"""tools/predict.py from inputs to files."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / 'tools' / 'predict.py'
SPEC = importlib.util.spec_from_file_location('predict_tool', TOOL)
predict = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(predict)


@pytest.fixture
def model(stock_config, stock_checkpoint) -> list[str]:
    """CONFIG and CKPT of a small two-class segmentor."""
    config = stock_config(2)
    return [str(config), str(stock_checkpoint(config))]


@pytest.fixture
def photos(tmp_path, draw_pair) -> Path:
    """A folder of two pictures of different sizes."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    Image.fromarray(draw_pair(0, 40, 56)[0]).save(folder / 'a #1.jpg')
    Image.fromarray(draw_pair(1, 61, 30)[0]).save(folder / 'b.c.png')
    return folder


def run(model: list[str], *arguments: str | Path) -> int:
    return predict.main([*model, *map(str, arguments), '--device', 'cpu'])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_masks_are_grey_at_the_size_of_their_pictures(model, photos, tmp_path, capsys):
    assert run(model, photos, '--out', tmp_path / 'new' / 'out') == 0
    out = tmp_path / 'new' / 'out'
    assert names(out) == ['a #1.png', 'b.c.png']
    for name, size in [('a #1.png', (56, 40)), ('b.c.png', (30, 61))]:
        mask = Image.open(out / name)
        assert mask.mode == 'L' and mask.size == size
    assert np.ptp(np.array(mask)) > 0
    assert '2 of 2 written' in capsys.readouterr().out


@pytest.mark.parametrize(('kind', 'mode'), [('cutout', 'RGBA'), ('overlay', 'RGB')])
def test_cutout_and_overlay_show_the_picture(model, photos, tmp_path, kind, mode):
    assert run(model, photos / 'b.c.png', '--out', tmp_path / 'mask') == 0
    assert run(model, photos / 'b.c.png', '--out', tmp_path / kind, '--type', kind) == 0
    result = Image.open(tmp_path / kind / 'b.c.png')
    assert result.mode == mode and result.size == (30, 61)
    if kind == 'cutout':
        mask = Image.open(tmp_path / 'mask' / 'b.c.png')
        np.testing.assert_array_equal(np.array(result)[..., 3], np.array(mask))
        picture = np.array(Image.open(photos / 'b.c.png'))
        np.testing.assert_array_equal(np.array(result)[..., :3], picture)


def test_panel_of_a_model_without_edges_has_two_parts(model, photos, tmp_path):
    assert run(model, photos / 'b.c.png', '--out', tmp_path / 'out', '--type', 'panel') == 0
    picture = Image.open(tmp_path / 'out' / 'b.c.png')
    assert picture.width == 2 * round(30 * 512 / 61) + 6


def test_edge_of_a_model_without_edges_is_a_mistake(model, photos, tmp_path):
    with pytest.raises(SystemExit, match='predicts no edges; choose another --type'):
        run(model, photos, '--out', tmp_path / 'out', '--type', 'edge')


def test_unreadable_files_are_reported_and_the_rest_is_done(model, photos, tmp_path, capsys):
    (photos / 'notes.txt').write_text('no picture')
    (photos / 'broken.jpg').write_bytes((photos / 'a #1.jpg').read_bytes()[:300])
    (photos / '.hidden').write_text('')
    assert run(model, photos, '--out', tmp_path / 'out') == 1
    assert names(tmp_path / 'out') == ['a #1.png', 'b.c.png']
    printed = capsys.readouterr()
    assert '2 of 4 written' in printed.out
    skipped = [line for line in printed.err.splitlines() if line.startswith('skipped')]
    assert len(skipped) == 2 and 'broken.jpg' in skipped[0] and 'notes.txt' in skipped[1]


def test_inputs_are_never_replaced(model, photos):
    before = (photos / 'b.c.png').read_bytes()
    with pytest.raises(SystemExit, match=r'b\.c\.png. beside the pictures.*another --out'):
        run(model, photos, '--out', photos)
    assert (photos / 'b.c.png').read_bytes() == before


def test_files_beside_the_inputs_are_never_replaced(model, photos):
    (photos / 'a #1.png').write_bytes(b'precious')
    with pytest.raises(SystemExit, match=r'a #1\.png. beside the pictures'):
        run(model, photos / 'a #1.jpg', '--out', photos)
    assert (photos / 'a #1.png').read_bytes() == b'precious'


def test_second_run_replaces_the_first(model, photos, tmp_path):
    for _ in range(2):
        assert run(model, photos, '--out', tmp_path / 'out') == 0
    assert len(names(tmp_path / 'out')) == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
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
