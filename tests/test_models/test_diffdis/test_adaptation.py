"""Frozen parts and low-rank adapters."""

import copy

import pytest
import torch
from conftest import ROOT, draw_samples
from mmengine.config import Config
from mmengine.runner import load_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer

from mmdiffdis.checkpoints import merge_lora

LORA = dict(targets=['to_q', 'to_out.0', 'conv1'], rank=2, alpha=6)


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def with_random_adapters(model):
    for name, parameter in model.named_parameters():
        if 'lora_' in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def latents_of(model):
    torch.manual_seed(1)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    noise = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        return torch.cat(model.eval().denoise(noise, model.encode_image(image), [999]))


def test_frozen_parts_get_no_gradient_and_keep_their_statistics(tiny):
    model = tiny(frozen=['backbone.swci', 'backbone.down_blocks'])
    assert not any(name.startswith(('backbone.swci', 'backbone.down')) for name in trained(model))
    assert any(name.startswith('backbone.up_blocks') for name in trained(model))
    model.train()
    before = copy.deepcopy(model.backbone.swci.state_dict())
    sum(model.loss(torch.rand(1, 3, 64, 64), draw_samples(1)).values()).backward()
    torch.testing.assert_close(model.backbone.swci.state_dict(), before, rtol=0, atol=0)
    assert model.backbone.up_blocks[0].resnets[0].conv1.weight.grad.abs().sum() > 0


def test_what_is_frozen_has_to_be_there(tiny):
    with pytest.raises(ValueError, match=r"no parameter begins with 'backbone.upblocks'; there"):
        tiny(frozen=['backbone.upblocks'])


def test_parts_that_the_model_is_built_without_are_not_asked_for(tiny):
    model = tiny(edge=False, backbone=dict(swci=None), frozen=FREEZE_ENCODER)
    assert not any(name.startswith('backbone.down') for name in trained(model))


FREEZE_ENCODER = Config.fromfile(ROOT / 'configs/_base_/options/freeze_encoder.py').model.frozen
SD_TURBO = dict(type='StableDiffusionInit', pretrained='nowhere')


@pytest.mark.parametrize('changes', [dict(frozen=FREEZE_ENCODER), dict(lora=LORA)])
def test_what_starts_untrained_is_trained(tiny, changes):
    """BDE and SWCI are random or zero, and conv_in is halved, after Stable Diffusion's weights."""
    names = trained(tiny(init_cfg=SD_TURBO, **changes))
    for part in ('backbone.bde.', 'backbone.swci.', 'backbone.conv_in.'):
        assert any(name.startswith(part) for name in names), part
    assert not any(name.startswith('backbone.down_blocks') and 'lora' not in name for name in names)
    with pytest.raises(ValueError, match='starts? untrained, by the init_cfg of the model'):
        tiny(init_cfg=dict(**SD_TURBO, unet=False), **changes)


def test_head_is_trained_beside_adapters(tiny):
    head = dict(type='MaskDecoder', channels=8, num_blocks=(1, 1, 1, 1))
    model = tiny(decode_head=head, lora=LORA)
    own = {name for name, _ in model.named_parameters() if name.startswith('decode_head.')}
    assert own and own <= trained(model)


def test_adapters_start_from_stable_diffusion(stable_diffusion, tiny):
    model = tiny(
        init_cfg=dict(type='StableDiffusionInit', pretrained=str(stable_diffusion)), lora=LORA
    )
    plain = tiny(init_cfg=model.init_cfg)
    for each in (plain, model):
        torch.manual_seed(0)
        each.init_weights()
    weights, expected = merge_lora(model.state_dict()), plain.state_dict()
    assert weights.keys() == expected.keys()
    same = [n for n in expected if torch.equal(weights[n], expected[n])]
    assert len(same) > 0.9 * len(expected)  # all but what is drawn at random


def test_checkpoint_with_adapters_loads_without_them(tiny):
    """tools/test.py and predict.py need no option."""
    model, plain = with_random_adapters(tiny(lora=LORA)), tiny()
    load_state_dict(plain, model.state_dict(), strict=True)
    torch.testing.assert_close(latents_of(plain), latents_of(model), rtol=1e-4, atol=1e-4)
    again = tiny(lora=LORA)
    load_state_dict(again, model.state_dict(), strict=True)
    torch.testing.assert_close(latents_of(again), latents_of(model), rtol=0, atol=0)


def test_adapters_alone_are_trained_and_change_nothing_at_first(tiny):
    plain, model = tiny(), tiny(lora=LORA)
    load_state_dict(model, plain.state_dict(), strict=True)  # as `load_from` does
    assert trained(model) and all('lora_' in name for name in trained(model))
    assert not any('vae' in name for name in trained(model))
    torch.testing.assert_close(latents_of(model), latents_of(plain), rtol=1e-4, atol=1e-4)


def test_each_adapter_gets_a_gradient(tiny):
    model = with_random_adapters(tiny(lora=LORA)).train()
    sum(model.loss(torch.rand(1, 3, 64, 64), draw_samples(1)).values()).backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads.values())


def test_merged_weights_do_what_the_adapters_did(tiny):
    model, plain = with_random_adapters(tiny(lora=LORA)), tiny()
    plain.load_state_dict(merge_lora(model.state_dict()))
    assert (latents_of(plain) - latents_of(tiny())).abs().max() > 1e-3
    torch.testing.assert_close(latents_of(plain), latents_of(model), rtol=1e-4, atol=1e-4)


def test_merging_agrees_with_peft(tiny):
    model = with_random_adapters(tiny(lora=LORA))
    merged = merge_lora(model.state_dict())
    adapted = {n: m for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)}
    assert {type(m).__name__ for m in adapted.values()} == {'Linear', 'Conv2d'}
    for name, module in adapted.items():
        module.merge()
        torch.testing.assert_close(merged[f'{name}.weight'], module.get_base_layer().weight)


def test_weights_without_adapters_are_left_alone(tiny):
    weights = tiny().state_dict()
    assert merge_lora(weights) == weights


def test_targets_have_to_be_there(tiny):
    with pytest.raises(ValueError, match='check your `target_modules`'):
        tiny(lora=dict(targets=['nothing_like_it']))
