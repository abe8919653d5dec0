"""Masks of single pictures, with small stock segmentors."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmdiffdis.apis import DISInferencer
from mmdiffdis.checkpoints import CheckpointError


@pytest.fixture(params=[1, 2])
def config(request, stock_config):
    """Config of a segmentor of one and of two channels."""
    return stock_config(request.param)


@pytest.fixture
def two_channels(stock_config, stock_checkpoint) -> tuple:
    """(config, checkpoint) of a two-class segmentor."""
    config = stock_config(2)
    return config, stock_checkpoint(config)


def test_mask_equals_the_test_pipelines_prediction(config, stock_checkpoint):
    """Against the data set, the model and the reading of its output, put together by hand."""
    from mmengine.dataset import pseudo_collate
    from mmseg.registry import DATASETS

    from mmdiffdis.structures import foreground_probability

    inferencer = DISInferencer(config, stock_checkpoint(config), device='cpu')
    dataset = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    result = inferencer(dataset.get_data_info(1)['img_path'])
    with torch.no_grad():
        sample = inferencer.model.test_step(pseudo_collate([dataset[1]]))[0]
    expected = foreground_probability(sample).numpy()
    np.testing.assert_array_equal(result.mask, expected)
    assert result.mask.shape == (40, 56) and result.mask.dtype == np.float32
    assert result.mask.std() > 0
    assert result.stem == 'b #1' and result.edge is None and not inferencer.model.training


def test_path_array_and_pillow_image_are_the_same(two_channels, tmp_path, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    rgb = draw_pair(height=33, width=47)[0]
    Image.fromarray(rgb).save(tmp_path / 'a.png')
    expected = inferencer(tmp_path / 'a.png').mask
    for picture in (rgb, Image.fromarray(rgb), Image.open(tmp_path / 'a.png')):
        np.testing.assert_array_equal(inferencer(picture).mask, expected)
    opaque = np.dstack([rgb, np.full((33, 47), 255, np.uint8)])
    np.testing.assert_array_equal(inferencer(opaque).mask, expected)
    assert inferencer(Image.open(tmp_path / 'a.png')).stem == 'a'
    assert inferencer(rgb).stem == 'image' and inferencer(rgb, stem='x').stem == 'x'


def test_grey_array_is_the_grey_picture(two_channels, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    grey = draw_pair()[1]
    mask = inferencer(grey).mask
    np.testing.assert_array_equal(mask, inferencer(np.dstack([grey] * 3)).mask)


def test_exif_rotated_photograph_has_an_upright_mask(two_channels, tmp_path, draw_pair):
    inferencer = DISInferencer(*two_channels, device='cpu')
    rgb = draw_pair()[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: viewers turn it by 90 degrees clockwise
    Image.fromarray(np.rot90(rgb, 1).copy()).save(tmp_path / 'turned.png', exif=exif)
    result = inferencer(tmp_path / 'turned.png')
    np.testing.assert_array_equal(result.image, rgb)
    np.testing.assert_array_equal(result.mask, inferencer(rgb).mask)


def test_config_object_is_left_unchanged(two_channels):
    cfg = Config.fromfile(two_channels[0])
    before = cfg.pretty_text
    DISInferencer(cfg, two_channels[1], device='cpu', edge=True, seed=3)
    assert cfg.pretty_text == before


def test_edge_and_seed_reach_the_models_test_cfg(two_channels):
    plain = DISInferencer(*two_channels, device='cpu').model.test_cfg
    assert 'edge' not in plain and plain['seed'] == 7
    asked = DISInferencer(*two_channels, device='cpu', edge=True, seed=3).model.test_cfg
    assert asked['edge'] is True and asked['seed'] == 3


def test_pipeline_of_the_test_data_set_is_used_if_there_is_no_other(two_channels):
    cfg = Config.fromfile(two_channels[0])
    cfg.pop('test_pipeline')
    assert DISInferencer(cfg, two_channels[1], device='cpu')(np.zeros((8, 9, 3), np.uint8))
    cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='neither `test_pipeline` nor'):
        DISInferencer(cfg, two_channels[1], device='cpu')


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'shape'])
def test_checkpoint_that_does_not_fit_is_refused(two_channels, change):
    config, path = two_channels
    checkpoint = torch.load(path)
    state = checkpoint['state_dict']
    if change == 'missing':
        del state['decode_head.conv_seg.bias']
    elif change == 'unexpected':
        state['decode_head.conv_seg.extra'] = torch.zeros(1)
    else:
        state['decode_head.conv_seg.bias'] = torch.zeros(5)
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r'does not fit the model[\s\S]*conv_seg\.(b|e)'):
        DISInferencer(config, path, device='cpu')


def test_checkpoint_of_another_model_is_named_briefly(stock_config, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': {f'layer.{i}.weight': torch.zeros(1) for i in range(999)}}, path)
    with pytest.raises(CheckpointError, match=r'x\.pth does not fit') as caught:
        DISInferencer(stock_config(2), path, device='cpu')
    assert len(str(caught.value)) < 2000


def test_missing_files(stock_config, tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.py'):
        DISInferencer('nowhere.py', 'x.pth')
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        DISInferencer(stock_config(2), 'nowhere.pth')


def test_config_without_a_model():
    with pytest.raises(ValueError, match='has no `model`'):
        DISInferencer(Config({'test_pipeline': []}), 'x.pth')


@pytest.mark.parametrize(
    ('picture', 'error', 'message'),
    [
        (np.zeros((4, 4), np.float32), ValueError, r'float32 of shape \(4, 4\), expected uint8'),
        (np.zeros((4, 4, 2), np.uint8), ValueError, r'shape \(4, 4, 2\)'),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r'shape \(0, 4, 3\)'),
        (7, TypeError, '`picture` is a int'),
        ('gone.jpg', FileNotFoundError, 'gone.jpg'),
    ],
)
def test_what_is_no_picture(two_channels, picture, error, message):
    with pytest.raises(error, match=message):
        DISInferencer(*two_channels, device='cpu')(picture)
