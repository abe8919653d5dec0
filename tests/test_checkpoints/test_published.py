"""Tables of published names: patterns, both directions, and the released DiffDIS exactly."""

import pytest
import torch
from conftest import ROOT, load_keys
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.checkpoints.diffusers_names import UNET_NAMES, VAE_NAMES
from mmdiffdis.checkpoints.published import PublishedNames, prefixed

FULL_SIZE = 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'
NAMES = PublishedNames(
    {
        'stage{}.block{}.attn.': 'network.stages.{}.blocks.{}.attention.',
        'stage{}.': 'network.stages.{}.',
        'out{+1}.': 'network.outputs.{}.',
        'out0.': 'network.first.',
    },
    unused=('out9.',),
    training_only=('teacher.',),
)


def shapes_of(model) -> dict[str, list[int]]:
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if not name.endswith('settings')}


@pytest.mark.parametrize(
    ('published', 'ours'),
    [
        ('stage0.block12.attn.q.weight', 'network.stages.0.blocks.12.attention.q.weight'),
        ('stage10.block1.mlp.weight', 'network.stages.10.block1.mlp.weight'),
        ('out1.bias', 'network.outputs.0.bias'),
        ('out12.bias', 'network.outputs.11.bias'),
        ('out0.bias', 'network.first.bias'),  # no output of number -1
    ],
)
def test_name_is_translated_by_the_first_row_that_fits_and_back(published, ours):
    assert NAMES.our_name(published) == ours
    assert NAMES.published_name(ours) == published


def test_dots_are_literal_and_only_beginnings_match():
    assert NAMES.our_name('stage0xweight') is None
    assert NAMES.our_name('a.stage0.weight') is None
    assert NAMES.our_name('stage.weight') is None


def test_unknown_published_names_are_kept_and_unused_ones_dropped():
    weights = {'stage0.weight': 1, 'other.weight': 2, 'out9.weight': 3}
    assert NAMES.to_ours(weights) == {'network.stages.0.weight': 1, 'other.weight': 2}


def test_names_of_other_parts_and_of_training_are_not_published():
    weights = {'network.stages.0.weight': 1, 'vae.weight': 2, 'teacher.weight': 3}
    assert NAMES.to_published(weights) == {'stage0.weight': 1}


def test_layout_is_changed_both_ways():
    def transpose(weights):
        return {name: tensor.T for name, tensor in weights.items()}

    names = PublishedNames({'': 'network.'}, layout=(transpose, transpose))
    weights = {'a': torch.arange(6).reshape(2, 3)}
    ours = names.to_ours(weights)
    assert torch.equal(ours['network.a'], weights['a'].T)
    assert torch.equal(names.to_published(ours)['a'], weights['a'])


def test_tables_are_combined_under_prefixes():
    patterns = {**prefixed(NAMES.patterns, 'net.', 'a.'), **prefixed({'': 'fc.'}, 'head.', 'b.')}
    names = PublishedNames(patterns)
    weights = {'net.out1.bias': 1, 'head.weight': 2}
    ours = {'a.network.outputs.0.bias': 1, 'b.fc.weight': 2}
    assert names.to_ours(weights) == ours
    assert names.to_published(ours) == weights


@pytest.mark.parametrize('prefix', ['', 'model.'])
@pytest.mark.parametrize('wrapper', ['', 'module.', 'module._orig_mod.'])
def test_published_weights_are_renamed_before_loading(wrapper, prefix):
    published = {f'{prefix}{wrapper}stage0.weight': 1, f'{prefix}{wrapper}other.weight': 2}
    state_dict = {**published, 'x.weight': 0} if prefix else published
    NAMES.rename_in_place(state_dict, prefix, {'teacher.weight': 3, 'network.stages.0.weight': 4})
    expected = {'teacher.weight': 3, 'network.stages.0.weight': 1, 'other.weight': 2}
    expected = {prefix + name: value for name, value in expected.items()}
    assert state_dict == ({**expected, 'x.weight': 0} if prefix else expected)


@pytest.mark.parametrize('name', ['network.outputs.3.weight', 'teacher.weight'])
def test_weights_under_our_names_stay(name):
    state_dict = {name: 1, 'stage0.weight': 2}
    NAMES.rename_in_place(state_dict, '', {})
    assert state_dict == {name: 1, 'stage0.weight': 2}


# --- the released DiffDIS --------------------------------------------------------------------


@pytest.fixture(scope='module')
def full_size():
    init_default_scope('mmseg')
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(ROOT / FULL_SIZE).model)


def test_full_size_unet_has_the_released_keys_and_shapes(full_size):
    released = load_keys('diffdis_full_unet_keys.json')
    ours = {n: s for n, s in shapes_of(full_size).items() if n.startswith(('backbone.', 'neck.'))}
    assert UNET_NAMES.to_ours(released) == ours
    assert UNET_NAMES.to_published(shapes_of(full_size)) == released


def test_full_size_unet_has_the_papers_number_of_parameters(full_size):
    parts = (full_size.backbone, full_size.neck)
    parameters = sum(p.numel() for part in parts for p in part.parameters())
    assert round(parameters / 1e6, 1) == 912.9


def test_vae_has_the_released_keys_and_shapes(tiny):
    released = load_keys('diffdis_vae_keys.json')
    ours = {n: s for n, s in shapes_of(tiny()).items() if n.startswith('vae.')}
    assert VAE_NAMES.to_ours(released) == ours
    assert VAE_NAMES.to_published(shapes_of(tiny())) == released
