"""tools/deployment/comfyui_mmdiffdis by ComfyUI's contract of nodes, without ComfyUI."""

import numpy as np
import pytest
import torch
from conftest import load_tool

from mmdiffdis.apis import DISInferencer
from mmdiffdis.utils.shipped import shipped_models

NODES = load_tool('deployment/comfyui_mmdiffdis/__init__.py')
(NAME,) = NODES.NODE_CLASS_MAPPINGS
NODE = NODES.NODE_CLASS_MAPPINGS[NAME]


@pytest.fixture
def run():
    """Calls the node as ComfyUI does: an instance, and keywords of its inputs."""

    def call(image, **values):
        outputs = getattr(NODE(), NODE.FUNCTION)(image=image, **values)
        assert isinstance(outputs, tuple) and len(outputs) == len(NODE.RETURN_TYPES)
        return dict(zip(NODE.RETURN_NAMES, outputs, strict=True))

    return call


@pytest.fixture
def arrays(draw_pair):
    """Two images of one size, uint8 [2, H, W, 3]."""
    return np.stack([draw_pair(seed)[0] for seed in (0, 1)])


@pytest.fixture
def folder(stock_config, stock_checkpoint, tmp_path):
    """A small model as `save_pretrained` writes it."""
    config = stock_config()
    inferencer = DISInferencer(config, stock_checkpoint(config), device='cpu')
    return inferencer.save_pretrained(tmp_path / 'folder')


def to_images(arrays: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(arrays).float() / 255


def test_declares_what_comfyui_reads():
    assert NODES.NODE_DISPLAY_NAME_MAPPINGS.keys() == {NAME}
    inputs = NODE.INPUT_TYPES()
    assert inputs['required']['image'] == ('IMAGE',)
    assert inputs['required']['model'][0] == [*shipped_models(), NODES.OTHER]
    assert [kind for kind, _ in inputs['optional'].values()] == ['STRING', 'STRING']
    assert NODE.RETURN_TYPES == ('MASK', 'IMAGE') and NODE.CATEGORY


def test_values_are_those_of_the_inferencer(run, arrays, folder):
    inferencer = DISInferencer.from_pretrained(folder, device='cpu')
    outputs = run(to_images(arrays), model=NODES.OTHER, checkpoint=str(folder))
    assert outputs['mask'].shape == arrays.shape[:3]
    assert outputs['cutout'].shape == (*arrays.shape[:3], 4)
    for i, array in enumerate(arrays):
        result = inferencer(array)
        np.testing.assert_array_equal(outputs['mask'][i].numpy(), result.mask)
        np.testing.assert_array_equal(
            outputs['cutout'][i].numpy(), result.cutout().astype(np.float32) / 255
        )
    assert not np.array_equal(*outputs['mask'].numpy())


def test_transparency_reaches_the_cutout(run, arrays, folder):
    alpha = np.full((*arrays.shape[:3], 1), 51, np.uint8)
    transparent = to_images(np.concatenate([arrays, alpha], axis=3))
    outputs = run(transparent, model=NODES.OTHER, checkpoint=str(folder))
    expected = outputs['mask'] * 0.2
    torch.testing.assert_close(outputs['cutout'][..., 3], expected, atol=0.005, rtol=0)


def test_values_outside_the_range_are_clipped(run, arrays, folder):
    names = dict(model=NODES.OTHER, checkpoint=f' {folder} ')
    images = to_images(np.where(arrays > 99, 255, 0).astype(np.uint8))
    mask = run(images, **names)['mask']
    assert torch.equal(run(images * 1.5 - 0.2, **names)['mask'], mask)


def test_a_config_by_name_takes_its_checkpoint(run, arrays):
    config = 'u2netp_1xb12-600k_dis5k-320x320'
    other = run(
        to_images(arrays[:1]), model=NODES.OTHER, config=config, checkpoint='mmdiffdis://u2netp'
    )
    expected = run(to_images(arrays[:1]), model='u2netp')
    assert torch.equal(other['mask'], expected['mask'])


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (dict(model='u2netp', checkpoint='a.pth'), 'choose .other: config and checkpoint'),
        (dict(model=NODES.OTHER), 'expected a checkpoint, or choose another model'),
        (
            dict(model=NODES.OTHER, config='u2netp_1xb12-600k_dis5k-320x320'),
            'expected a checkpoint',
        ),
    ],
)
def test_names_without_effect_and_missing_ones_are_refused(run, arrays, values, message):
    with pytest.raises(ValueError, match=message):
        run(to_images(arrays), **values)


def test_a_config_file_is_not_run(run, arrays, tmp_path):
    file = tmp_path / 'harmful.py'
    file.write_text("raise SystemExit('it was run')")
    with pytest.raises(ValueError, match='a config file is a program: make a folder'):
        run(to_images(arrays), model=NODES.OTHER, config=str(file), checkpoint='a.pth')
