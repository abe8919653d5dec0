"""The fused normalisation against PyTorch's, by Triton's interpreter or on a GPU."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

PROGRAM = """
import torch
from conftest import tiny_config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch.nn import functional as F

from mmdiffdis.models.diffdis.fused_norm import FusedGroupNorm, fuse_norms, group_norm_silu

device = 'cuda' if torch.cuda.is_available() else 'cpu'
torch.manual_seed(0)
for shape, groups in [((2, 64, 17, 9), 32), ((1, 160, 16, 16), 32), ((2, 40, 8, 8), 8)]:
    x = (torch.randn(shape) * 3 + 1).to(device)
    weight, bias = torch.randn(2, shape[1], device=device)
    expected = F.group_norm(x, groups, weight, bias, 1e-6)
    for silu, expected in ((False, expected), (True, F.silu(expected))):
        y = group_norm_silu(x, groups, weight, bias, 1e-6, silu)
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)

init_default_scope('mmseg')
model = MODELS.build(tiny_config()).eval().to(device)
image = torch.rand(1, 3, 64, 64, device=device) * 2 - 1
noise = torch.randn(2, 4, 8, 8, device=device)
with torch.no_grad():
    clean = torch.cat(model.denoise(noise, model.encode_image(image), [999]))
    names = set(model.state_dict())
    fuse_norms(model)
    assert set(model.state_dict()) == names
    assert not any(type(module) is torch.nn.GroupNorm for module in model.modules())
    fused = torch.cat(model.denoise(noise, model.encode_image(image), [999]))
assert (fused - clean).norm() < 1e-5 * clean.norm()
"""


@pytest.mark.slow
def test_equals_torch_alone_and_in_a_model():
    pytest.importorskip('triton', reason='comes with CUDA builds of PyTorch')
    interpret = {} if torch.cuda.is_available() else {'TRITON_INTERPRET': '1'}
    path = os.pathsep.join(map(str, (ROOT, ROOT / 'tests', os.environ.get('PYTHONPATH', ''))))
    environment = {**os.environ, **interpret, 'PYTHONPATH': path}
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
