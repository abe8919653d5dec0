"""Costs counted on shapes, compared with operations added up while a real model runs."""

import math

import pytest
import torch
from conftest import ROOT, tiny_config
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from torch import nn

from mmdiffdis.apis.flops import build_on_meta, count_cost

FULL_SIZE = ROOT / 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'


@torch.no_grad()
def add_up(model: nn.Module, side: int, monkeypatch) -> int:
    """2 FLOP a multiply-add of every convolution, linear layer and attention that runs."""
    total = 0

    def weighted(module, args, output):
        nonlocal total
        # a position of the output (all but its channels) reads the whole kernel once a channel
        total += 2 * output.numel() * math.prod(module.weight.shape[1:])

    attend = nn.functional.scaled_dot_product_attention

    def attention(query, key, value, **kwargs):
        nonlocal total
        *batch, tokens, width = query.shape
        total += 2 * 2 * math.prod(batch) * tokens * key.shape[-2] * width
        return attend(query, key, value, **kwargs)

    monkeypatch.setattr(nn.functional, 'scaled_dot_product_attention', attention)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(weighted)
    model.eval()(torch.zeros(1, 3, side, side), mode='tensor')
    return total


@pytest.mark.slow
@pytest.mark.parametrize('edge', [False, True])
@pytest.mark.parametrize('interaction', ['mutual', 'concat', None])
def test_diffusion_segmentor_costs_what_its_layers_do(edge, interaction, monkeypatch):
    config = ConfigDict(tiny_config(neck=dict(interaction=interaction), test_cfg=dict(edge=edge)))
    cost = count_cost(build_on_meta(config), (64, 64))
    model = MODELS.build(config)
    assert cost.total_parameters == sum(p.numel() for p in model.parameters())
    assert cost.total_flop == sum(cost.flop.values()) == add_up(model, 64, monkeypatch)


@pytest.mark.slow
def test_parts_that_cost_less_without_an_edge():
    models = [build_on_meta(ConfigDict(tiny_config(test_cfg=dict(edge=e)))) for e in (False, True)]
    alone, both = (count_cost(model, (64, 64)).flop for model in models)
    assert sum(alone.values()) < count_cost(models[0], (64, 128)).total_flop
    assert list(alone) == list(both)
    ratios = [both[part] / alone[part] for part in alone]
    # encode, U-Net down, mid, up, decode
    assert ratios[:3] == [1, 1, 1]
    assert ratios[3:] == pytest.approx([2, 2], rel=1e-3)  # the time embedding is no part of up


@pytest.mark.parametrize('channels', [1, 2])
def test_stock_segmentor_by_its_children(stock_config, channels, monkeypatch):
    config = Config.fromfile(stock_config(channels)).model
    cost = count_cost(build_on_meta(config), (64, 64))
    assert list(cost.parameters) == ['backbone', 'decode_head']
    model = MODELS.build(config)
    assert cost.total_parameters == sum(p.numel() for p in model.parameters())
    assert cost.total_flop == sum(cost.flop.values()) == add_up(model, 64, monkeypatch)


def test_autoencoder_alone(monkeypatch):
    config = ConfigDict(type='VAEReconstructor', vae=tiny_config()['vae'], size=(64, 64))
    cost = count_cost(build_on_meta(config), (64, 64))
    assert list(cost.flop) == ['encode (VAE encoder)', 'decode (VAE decoder)']
    assert cost.total_flop == add_up(MODELS.build(config), 64, monkeypatch)


def test_constructor_that_computes_with_tensors_builds():
    swin = ConfigDict(type='SwinTransformer', embed_dims=12, depths=(1, 1), num_heads=(1, 2))
    swin.update(out_indices=(0, 1), strides=(4, 2), drop_path_rate=0.3)
    model = build_on_meta(swin)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {'meta'}


@pytest.mark.slow
def test_paper_model_at_1024_pixels():
    config = Config.fromfile(FULL_SIZE).model
    cost = count_cost(build_on_meta(config), (1024, 1024))
    assert cost.total_flop / 1e12 == pytest.approx(23.14, abs=0.01)
    assert cost.total_parameters == pytest.approx(996.6e6, rel=1e-4)
    config.test_cfg.edge = True
    cost = count_cost(build_on_meta(config), (1024, 1024))
    assert cost.total_flop / 1e12 == pytest.approx(36.65, abs=0.01)


def test_shape_that_the_model_cannot_take():
    with pytest.raises(ValueError, match='60x64 pixels: expected both sides to be multiples of 64'):
        count_cost(build_on_meta(ConfigDict(tiny_config())), (60, 64))
