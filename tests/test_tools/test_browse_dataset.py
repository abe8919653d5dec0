"""tools/analysis_tools/browse_dataset.py on stock and diffusion configs."""

import numpy as np
import pytest
import torch
from conftest import load_tool
from mmengine.config import Config
from PIL import Image
from safetensors.torch import save_file

tool = load_tool('analysis_tools/browse_dataset.py')

SIDE, GAP, CAPTION = 512, 6, 26
CUTMIX = "model = dict(data_preprocessor=dict(_delete_=True, type='DISDataPreProcessor', {}))\n"


@pytest.fixture
def cutmix_config(stock_config, tmp_path):
    """Writes the stock config with our preprocessor; returns its path."""

    def write(settings: str) -> str:
        path = tmp_path / 'cutmix.py'
        path.write_text(f"_base_ = '{stock_config(2).name}'\n" + CUTMIX.format(settings))
        return str(path)

    return write


def split_tiles(image: np.ndarray) -> list[list[np.ndarray]]:
    """Rows of image, mask and edge, without captions."""
    return [
        [row[CAPTION:, left : left + SIDE] for left in range(0, 3 * SIDE, SIDE + GAP)]
        for row in np.vsplit(image, 2)
    ]


def test_two_rows_of_image_mask_and_edge(cutmix_config, tmp_path, capsys):
    out = tmp_path / 'out'
    config = cutmix_config('min_max=True, cutmix=dict(prob=0.5)')
    tool.main([config, '--out', str(out), '--num', '3'])
    names = sorted(path.name for path in out.iterdir())
    assert names == ['000_a.jpg', '001_b #1.jpg', '002_c.d.jpg']
    assert '3 samples' in capsys.readouterr().out
    with Image.open(out / names[0]) as image:
        assert image.size == (3 * SIDE + 2 * GAP, 2 * (SIDE + CAPTION))


@pytest.mark.parametrize('mixed', [False, True])
def test_cutmix_shows_in_the_lower_row(cutmix_config, mixed):
    settings = 'cutmix=dict(prob=1.0, area=(0.3, 0.4))' if mixed else 'cutmix=None'
    config = Config.fromfile(cutmix_config(settings))
    np.random.seed(0)
    torch.manual_seed(0)
    (stem, image), _ = tool.draw_batches(config, 2)
    upper, lower = split_tiles(image)
    assert stem == 'a'
    for loaded, mixed_in in zip(upper[1:], lower[1:], strict=True):  # mask and edge
        assert np.array_equal(loaded, mixed_in) is not mixed
    # a box of the image is its partner's, the rest is unchanged
    changed = np.abs(upper[0].astype(int) - lower[0]).max(axis=2) > 60
    assert changed.any() == mixed and not changed.all()


def test_stock_preprocessor(stock_config, tmp_path):
    out = tmp_path / 'out'
    tool.main([str(stock_config(1)), '--out', str(out), '--num', '2'])
    with Image.open(out / '000_a.jpg') as image:
        upper, lower = (row[0].astype(float) for row in split_tiles(np.array(image)))
    # the same channels in the same order, at another scale
    for channel in range(3):
        levels = upper[..., channel].ravel(), lower[..., channel].ravel()
        assert np.corrcoef(*levels)[0, 1] > 0.99


def test_mistakes_end_in_one_line(stock_config, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(stock_config(2)), '--num', '0'])
    assert 'error: --num 0: expected 1 or more' in capsys.readouterr().err
    nowhere = 'train_dataloader.dataset.data_root=nowhere'
    with pytest.raises(SystemExit, match='no folder nowhere'):
        tool.main([str(stock_config(2)), '--cfg-options', nowhere])


def test_config_of_latents_is_refused(stock_config, tmp_path):
    latents = {name: torch.zeros(3, 4, 8, 8) for name in ('image_0', 'mask')}
    save_file(latents, tmp_path / 'latents.safetensors')
    config = Config.fromfile(stock_config(2))
    file = str(tmp_path / 'latents.safetensors')
    config.train_dataloader.dataset = dict(type='LatentDataset', latent_file=file)
    config.dump(str(tmp_path / 'latents.py'))
    with pytest.raises(SystemExit, match='trains on latents, expected images; browse'):
        tool.main([str(tmp_path / 'latents.py'), '--out', str(tmp_path / 'out')])
    assert not (tmp_path / 'out').exists()
