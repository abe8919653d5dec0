"""Mixed precision on the CPU, and what --amp sets."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmdiffdis.engine import BFloat16OptimWrapper
from mmdiffdis.engine.mixed_precision import check_mixed_precision, set_mixed_precision


def test_forward_is_bfloat16_and_weights_stay_float32():
    model = nn.Linear(4, 3)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 4))
    assert output.dtype == torch.bfloat16
    assert model(torch.ones(2, 4)).dtype == torch.float32
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - 0.1 * 2 * torch.ones(3, 4))


def test_wrapper_of_each_device():
    def wrapper_on(device: str, **settings) -> Config:
        config = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'), **settings)))
        set_mixed_precision(config, device)
        return config.optim_wrapper

    expected = dict(type='BFloat16OptimWrapper', optimizer=dict(type='SGD'))
    assert wrapper_on('cpu') == wrapper_on('cpu', type='OptimWrapper') == expected
    assert wrapper_on('cuda').type == 'AmpOptimWrapper'
    assert wrapper_on('cuda').dtype in ('bfloat16', 'float16')
    assert wrapper_on('cuda', type='AmpOptimWrapper', dtype='float16').dtype == 'float16'
    with pytest.raises(ValueError, match="but the config has optim_wrapper.type='MyWrapper'"):
        wrapper_on('cpu', type='MyWrapper')
    with pytest.raises(ValueError, match="on a CPU, without optim_wrapper.dtype='float16'"):
        wrapper_on('cpu', type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')


def test_mmengines_wrapper_needs_a_gpu():
    config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper')))
    check_mixed_precision(config, 'cuda')
    with pytest.raises(ValueError, match='needs a GPU, and there is none; --amp trains in bfloat1'):
        check_mixed_precision(config, 'cpu')


@pytest.mark.parametrize(('major', 'dtype'), [(7, 'float16'), (8, 'bfloat16')])
def test_emulated_bfloat16_is_not_used(monkeypatch, major, dtype):
    """V100 and T4 (compute capability 7) have no bfloat16."""
    monkeypatch.setattr(torch.version, 'hip', None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
    properties = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: properties)
    monkeypatch.setattr(torch.cuda, '_check_bf16_tensor_supported', lambda device: True)
    config = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'))))
    set_mixed_precision(config, 'cuda')
    assert config.optim_wrapper.dtype == dtype
