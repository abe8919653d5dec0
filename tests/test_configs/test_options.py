"""Training options (configs/_base_/options/): each merges into configs and has its effect."""

import os

import pytest
import torch
from conftest import draw_samples
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODEL_WRAPPERS
from mmseg.registry import HOOKS, MODELS
from shipped_configs import CONFIGS, FULL_SIZE, load
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmdiffdis.apis.configs import load_config
from mmdiffdis.engine.sharding import BLOCKS

OPTIONS = {path.stem: path for path in (CONFIGS / '_base_/options').glob('*.py')}
FINETUNE = CONFIGS / 'diffdis/diffdis_tiny_finetune_1xb8-400_own-384x384.py'
# The packages of two are optional, and AmpOptimWrapper needs a GPU.
NOT_BUILT = ('adamw8bit', 'deepspeed_zero2', 'float16')


def merged(*names, base=FULL_SIZE):
    return load_config(base, fragments=[OPTIONS[name] for name in names])


@pytest.mark.parametrize('name', sorted(OPTIONS))
def test_option_changes_the_config_and_its_parts_build(name):
    config = merged(name, base=FINETUNE)
    assert config.to_dict() != load(FINETUNE).to_dict()
    with torch.device('meta'):
        model = MODELS.build(config.model)
    for hook in config.default_hooks.values():
        HOOKS.build(hook)
    if name not in NOT_BUILT:
        config.optim_wrapper.optimizer.pop('fused', None)  # not on the meta device
        build_optim_wrapper(model, config.optim_wrapper)


def test_options_merge_with_each_other():
    config = merged(*sorted({*OPTIONS} - {'deepspeed_zero2'}))
    assert config.optim_wrapper.accumulative_counts == 4 and config.model.backbone.with_cp
    assert config.model.vae.slicing and config.default_hooks.ema and config.default_hooks.logger


def test_command_line_overrides_an_option():
    config = load_config(
        str(FULL_SIZE),
        options={'optim_wrapper.accumulative_counts': 2},
        fragments=[OPTIONS['accumulate4']],
    )
    assert config.optim_wrapper.accumulative_counts == 2


def test_four_accumulated_batches_equal_one_batch_of_four_times_the_size():
    data, weights = torch.randn(8, 3), []
    for names, batches in ((('accumulate4',), data.chunk(4)), ((), [data])):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        settings = {**merged(*names).optim_wrapper, 'paramwise_cfg': None}
        wrapper = build_optim_wrapper(model, settings)
        wrapper.initialize_count_status(model, 0, len(batches))
        before = model.weight.clone()
        for batch in batches:
            assert torch.equal(model.weight, before)
            wrapper.update_params(model(batch).square().mean())
        weights.append(model.weight.detach())
    torch.testing.assert_close(*weights)
    assert not torch.equal(weights[0], before)


def gradients(model):
    torch.manual_seed(1)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    sum(model.train().loss(image, draw_samples(2)).values()).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def test_activation_checkpointing_gives_the_same_gradients_with_fewer_activations(tiny):
    results, activations = [], []
    for with_cp in (False, True):
        model, sizes = tiny(backbone=dict(with_cp=with_cp)), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: (sizes.append(tensor.numel()), tensor)[1],
            lambda tensor: tensor,
        ):
            results.append(gradients(model))
        activations.append(sum(sizes))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    assert activations[1] < 0.5 * activations[0]
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
    """One process divides nothing, but units gather their weights only in `forward`."""
    expected = gradients(tiny())
    wrapper = merged('fsdp').strategy.model_wrapper
    sharded = MODEL_WRAPPERS.build({**wrapper, 'module': tiny(), 'device_id': torch.device('cpu')})
    units = [m.module for m in sharded.modules() if isinstance(m, FullyShardedDataParallel)]
    assert len(units) == 1 + sum(isinstance(m, BLOCKS) for m in tiny().modules())
    torch.manual_seed(1)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    losses = sharded.train()(image, draw_samples(2), mode='loss')
    sum(losses.values()).backward()
    gradients_by_name = {
        name.replace('_fsdp_wrapped_module.', ''): parameter.grad
        for name, parameter in sharded.named_parameters()
        if parameter.requires_grad
    }
    torch.testing.assert_close(gradients_by_name, expected, rtol=1e-4, atol=1e-5)


def test_vae_precision_is_independent_of_autocast(tiny):
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    exact = tiny().vae.encode(image)
    in_autocast = {}
    for precision in ('float32', 'bfloat16', None):
        vae = tiny(vae=dict(precision=precision)).vae
        with torch.autocast('cpu', torch.bfloat16):
            in_autocast[precision] = vae.encode(image)
        assert in_autocast[precision].dtype == torch.float32
    torch.testing.assert_close(in_autocast['float32'], exact)
    assert 0 < (in_autocast['bfloat16'].float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(in_autocast['bfloat16'], in_autocast[None])
    without_autocast = tiny(vae=dict(precision='bfloat16')).vae.encode(image)
    assert torch.equal(without_autocast, in_autocast['bfloat16'])
    with torch.autocast('cpu', torch.float16):  # in which Stable Diffusion's VAE overflows
        torch.testing.assert_close(tiny().vae.encode(image), exact)
        assert tiny().vae.decode(exact).dtype == torch.float32
    with pytest.raises(ValueError, match=r"precision='float16': expected one of \('bfloat16'"):
        tiny(vae=dict(precision='float16'))


def test_slicing_encodes_single_images_to_the_same_latents(tiny):
    image = torch.rand(3, 3, 32, 32) * 2 - 1
    sliced = tiny(vae=dict(slicing=True)).vae
    shapes = []
    sliced.autoencoder.encoder.register_forward_pre_hook(lambda _, x: shapes.append(x[0].shape))
    torch.testing.assert_close(sliced.encode(image), tiny().vae.encode(image), rtol=1e-4, atol=1e-5)
    assert [tuple(shape) for shape in shapes] == [(1, 3, 32, 32)] * 3
