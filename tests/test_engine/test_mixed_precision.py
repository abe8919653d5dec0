"""Mixed precision on the CPU."""

import torch
from torch import nn

from mmdiffdis.engine import BFloat16OptimWrapper


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
