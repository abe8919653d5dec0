"""The key table covers the released checkpoint exactly, both ways."""

import pytest
import torch
from conftest import ROOT, load_keys
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.checkpoints.key_table import UNET_PREFIXES, VAE_PREFIXES, to_mmdiffdis, to_published

FULL_SIZE = 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'


def shapes_of(model) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.fixture(scope='module')
def full_size():
    init_default_scope('mmseg')
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(ROOT / FULL_SIZE).model)


def test_full_size_unet_has_the_released_keys_and_shapes(full_size):
    released = load_keys('diffdis_full_unet_keys.json')
    ours = {n: s for n, s in shapes_of(full_size).items() if n.startswith(('backbone.', 'neck.'))}
    names = to_mmdiffdis(released, UNET_PREFIXES)
    assert {names[name]: shape for name, shape in released.items()} == ours
    back = to_published(ours, UNET_PREFIXES)
    assert {back[name]: shape for name, shape in ours.items()} == released


def test_full_size_unet_has_the_papers_number_of_parameters(full_size):
    parts = (full_size.backbone, full_size.neck)
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    assert round(parameters / 1e6, 1) == 912.9


def test_vae_has_the_released_keys_and_shapes(tiny):
    released = load_keys('diffdis_vae_keys.json')
    ours = {n: s for n, s in shapes_of(tiny()).items() if n.startswith('vae.')}
    names = to_mmdiffdis(released, VAE_PREFIXES)
    assert {names[name]: shape for name, shape in released.items()} == ours
    back = to_published(ours, VAE_PREFIXES)
    assert {back[name]: shape for name, shape in ours.items()} == released


def test_every_key_maps_back_to_itself():
    released = load_keys('diffdis_full_unet_keys.json')
    names = to_mmdiffdis(released, UNET_PREFIXES)
    assert len(set(names.values())) == len(released)
    back = to_published(names.values(), UNET_PREFIXES)
    assert all(back[ours] == theirs for theirs, ours in names.items())
