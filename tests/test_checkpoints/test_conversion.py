"""The pure functions of the conversion, at full size on the meta device: names and shapes alone."""

import re

import pytest
import torch
from conftest import ROOT, load_keys
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.checkpoints.conversion import (
    EMPTY_PROMPT,
    find_prompt,
    rename_strictly,
    strip_prefix,
    to_prompt,
)
from mmdiffdis.checkpoints.diffusers_names import UNET_NAMES

FULL_SIZE = 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'
TIME = 'time_embedding.linear_1.weight'


@pytest.fixture(scope='module')
def state():
    """The full-size model's state dict, of shapes alone."""
    init_default_scope('mmseg')  # conftest's comes after the fixtures of a module
    with torch.device('meta'):
        return MODELS.build(Config.fromfile(ROOT / FULL_SIZE).model).state_dict()


@pytest.fixture
def released():
    """The released checkpoint, of shapes alone, in half precision, counters as well."""
    shapes = load_keys('diffdis_full_unet_keys.json')
    return {n: torch.empty(s, dtype=torch.float16, device='meta') for n, s in shapes.items()}


def test_released_checkpoint_gives_backbone_and_neck(state, released):
    renamed = rename_strictly(released, state, UNET_NAMES, 'file')
    expected = {n: t for n, t in state.items() if n.startswith(('backbone.', 'neck.'))}
    assert {n: t.shape for n, t in renamed.items()} == {n: t.shape for n, t in expected.items()}
    counters = [n for n in expected if n.endswith('num_batches_tracked')]
    assert len(counters) == 3 and all(renamed[n].dtype == torch.int64 for n in counters)
    assert renamed['backbone.conv_in.weight'].dtype == torch.float16


def test_misfits_are_counted_and_the_first_are_named(state, released):
    for i in range(6):
        released[f'extra.{i}'] = torch.empty(1)
    del released['conv_out.bias']
    released[TIME] = released[TIME].T
    message = (
        'file does not fit the model of the config: '
        '6 unexpected: extra.0, extra.1, extra.2, extra.3 and 2 more; 1 missing: conv_out.bias; '
        f'1 misshapen: {TIME} (got [320, 1280], expected [1280, 320])'
    )
    with pytest.raises(CheckpointError, match=f'^{re.escape(message)}$'):
        rename_strictly(released, state, UNET_NAMES, 'file')


def test_fresh_names_may_be_missing_and_unused_names_unknown(state, released):
    del released['rgb_proj.0.weight']
    released['other.weight'] = torch.empty(1)
    choices = dict(fresh=('rgb_proj.',), unused=('other.',))
    renamed = rename_strictly(released, state, UNET_NAMES, 'file', **choices)
    assert len(renamed) == len(released) - 1


def test_no_weight_is_taken_for_the_prompt(released):
    assert find_prompt(released, 'file') is None
    assert find_prompt({f'model.{name}': t for name, t in released.items()}, 'file') is None


@pytest.mark.parametrize(
    'name', ['positive', 'prompt', 'text_embedding', 'unet.encoder_hidden_states', 'Prompt_Embeds']
)
def test_prompt_is_found_under_various_names(released, name):
    assert find_prompt({**released, name: torch.empty(1)}, 'file') == name


def test_two_prompts_are_one_too_many():
    with pytest.raises(CheckpointError, match='file has 2 tensors that could be .*: prompt, text;'):
        find_prompt(dict(prompt=torch.empty(1), text=torch.empty(1)), 'file')


@pytest.mark.parametrize('prefix', ['', 'unet.', 'module.unet.'])
def test_prefix_is_stripped(released, prefix):
    prefixed = {prefix + name: tensor for name, tensor in released.items()}
    assert set(strip_prefix(prefixed)) == set(released)


def test_without_conv_in_nothing_is_stripped():
    assert set(strip_prefix({'unet.a': torch.empty(1)})) == {'unet.a'}


def test_the_embedding_of_another_text_is_refused():
    """At Stable Diffusion 2's size; smaller models have text encoders of their own."""
    prompt = torch.zeros(1, 2, 1024)
    for token, values in enumerate(EMPTY_PROMPT):
        prompt[0, token, list(values)] = torch.tensor([*values.values()])
    assert to_prompt(prompt[0].half(), prompt, 'file').shape == (1, 2, 1024)
    with pytest.raises(CheckpointError, match=r'not that of the empty prompt.*13\.02.*SD-Turbo'):
        to_prompt(prompt * 1.02, prompt, 'file')
    with pytest.raises(CheckpointError, match='not that of the empty prompt'):
        to_prompt(prompt.flip(1), prompt, 'file')
    assert to_prompt(torch.zeros(2, 48), torch.zeros(1, 2, 48), 'file').shape == (1, 2, 48)
