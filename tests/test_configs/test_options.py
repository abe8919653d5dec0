"""configs/_base_/options/: each merges into the trainings, and does what it says."""

import os

import pytest
import torch
from conftest import ROOT, draw_samples
from mmengine.optim import build_optim_wrapper
from mmseg.registry import HOOKS, MODELS
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmdiffdis.apis.configs import load_config
from mmdiffdis.engine import wrap_blocks
from mmdiffdis.engine.sharding import BLOCKS

OPTIONS = {path.stem: path for path in (ROOT / 'configs/_base_/options').glob('*.py')}
FULL_SIZE = ROOT / 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'
FINETUNE = ROOT / 'configs/diffdis/diffdis_tiny_finetune_1xb8-400_own-384x384.py'
NOT_BUILT = ('adamw8bit', 'deepspeed_zero2')  # their packages are optional


def merged(*names, base=FULL_SIZE):
    return load_config(str(base), fragments=[OPTIONS[name] for name in names])


def wrapper_of(*names, model, **settings):
    return build_optim_wrapper(model, {**merged(*names).optim_wrapper, **settings})


@pytest.mark.parametrize('name', sorted(OPTIONS))
def test_option_changes_the_config_and_the_model_builds(name):
    config = merged(name, base=FINETUNE)
    assert config.to_dict() != merged(base=FINETUNE).to_dict()
    with torch.device('meta'):
        model = MODELS.build(config.model)
    if name not in NOT_BUILT:
        config.optim_wrapper.optimizer.pop('fused', None)  # not on the meta device
        wrapper = build_optim_wrapper(model, config.optim_wrapper) if name != 'float16' else None
        assert wrapper is None or wrapper.param_groups


def test_all_options_merge_with_each_other():
    config = merged(*sorted(OPTIONS))
    assert config.optim_wrapper.accumulative_counts == 4 and config.model.backbone.with_cp
    assert config.model.vae.slicing and config.default_hooks.ema and config.default_hooks.logger


def test_command_line_overrules_an_option():
    config = load_config(
        str(FULL_SIZE),
        options={'optim_wrapper.accumulative_counts': 2},
        fragments=[OPTIONS['accumulate4']],
    )
    assert config.optim_wrapper.accumulative_counts == 2


def test_four_accumulated_batches_are_one_batch_of_four_times_the_size():
    data, weights = torch.randn(8, 3), []
    for names, batches in ((('accumulate4',), data.chunk(4)), ((), [data])):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        wrapper = wrapper_of(*names, model=model, paramwise_cfg=None)
        wrapper.initialize_count_status(model, 0, len(batches))
        before = model.weight.clone()
        for batch in batches:
            assert torch.equal(model.weight, before)
            wrapper.update_params(model(batch).square().mean())
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)
    assert not torch.equal(weights[0], before)


def test_fused_optimizer_takes_the_same_steps():
    weights = []
    for names in (('fused_optimizer',), ()):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        wrapper = wrapper_of(*names, model=model, paramwise_cfg=None)
        assert bool(wrapper.optimizer.defaults['fused']) == bool(names)
        for _ in range(3):
            wrapper.update_params(model(torch.ones(1, 3)).square().mean())
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)


def test_bfloat16_option_is_the_wrapper_that_runs_everywhere():
    wrapper = wrapper_of('bfloat16', model=nn.Linear(1, 1), paramwise_cfg=None)
    assert type(wrapper).__name__ == 'BFloat16OptimWrapper'


def test_ema_option_builds():
    assert HOOKS.build(merged('ema').default_hooks.ema).ema_cfg['momentum'] == 1e-3


def gradients(model):
    torch.manual_seed(1)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    sum(model.train().loss(image, draw_samples(2)).values()).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def test_activation_checkpointing_gives_the_same_gradients_and_keeps_less(tiny):
    results, kept = [], []
    for with_cp in (False, True):
        model, sizes = tiny(backbone=dict(with_cp=with_cp)), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.append(tensor.numel()), tensor)[1],
            lambda tensor: tensor,
        ):
            results.append(gradients(model))
        kept.append(sum(sizes))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    assert kept[1] < 0.5 * kept[0]
    assert merged('activation_checkpointing').model.backbone.with_cp


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(os.name == 'nt', reason='gloo over a file')
def test_sharded_model_gives_the_same_gradients(tiny, one_process):
    """With one process nothing is divided, but units have their weights only in `forward`."""
    expected = gradients(tiny())
    sharded = FullyShardedDataParallel(
        tiny(), auto_wrap_policy=wrap_blocks, use_orig_params=True, device_id=torch.device('cpu')
    )
    units = [m.module for m in sharded.modules() if isinstance(m, FullyShardedDataParallel)]
    assert len(units) == 1 + sum(isinstance(m, BLOCKS) for m in tiny().modules())
    torch.manual_seed(1)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    losses = sharded.train()(image, draw_samples(2), mode='loss')
    sum(losses.values()).backward()
    found = {
        name.replace('_fsdp_wrapped_module.', ''): parameter.grad
        for name, parameter in sharded.named_parameters()
        if parameter.requires_grad
    }
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_vae_has_a_precision_of_its_own(tiny):
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    exact = tiny().vae.encode(image)
    surrounded = {}
    for precision in ('float32', 'bfloat16', None):
        vae = tiny(vae=dict(precision=precision)).vae
        with torch.autocast('cpu', torch.bfloat16):
            surrounded[precision] = vae.encode(image)
    torch.testing.assert_close(surrounded['float32'], exact)
    assert 0 < (surrounded['bfloat16'].float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(surrounded['bfloat16'], surrounded[None])
    alone = tiny(vae=dict(precision='bfloat16')).vae.encode(image)
    assert torch.equal(alone, surrounded['bfloat16'])
    with pytest.raises(ValueError, match=r"precision='float16': expected one of \('bfloat16'"):
        tiny(vae=dict(precision='float16'))


def test_slices_are_the_batch(tiny):
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    sliced = tiny(vae=dict(slicing=True)).vae
    shapes = []
    sliced.autoencoder.encoder.register_forward_pre_hook(lambda _, x: shapes.append(x[0].shape))
    torch.testing.assert_close(sliced.encode(image), tiny().vae.encode(image), rtol=1e-4, atol=1e-5)
    assert [tuple(shape) for shape in shapes] == [(1, 3, 32, 32)] * 3
