"""tools/analysis_tools/training_memory.py: bytes on fake tensors compared with real ones."""

import pytest
from conftest import ROOT, load_tool
from mmseg.registry import MODELS
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdiffdis.apis.configs import load_config
from mmdiffdis.engine.options import apply_variant
from mmdiffdis.engine.training_memory import count_bytes, count_saved_bytes

tool = load_tool('analysis_tools/training_memory.py')

CONFIG = ROOT / 'configs/diffdis/diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py'


@pytest.mark.slow
@pytest.mark.parametrize('bfloat16', [False, True])
def test_tensors_without_content_are_as_large_as_real_ones(tiny, bfloat16):
    noise = dict(type='GaussianNoise')
    real = count_saved_bytes(tiny(noise=noise).train(), 2, 64, bfloat16)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = count_saved_bytes(tiny(noise=noise).train(), 2, 64, bfloat16)
    assert fake == pytest.approx(real, rel=0.01) and real > 0


def test_activations_grow_with_the_batch_and_shrink_with_checkpointing(tiny):
    noise = dict(type='GaussianNoise')
    two, four = (count_saved_bytes(tiny(noise=noise), size, 64, False) for size in (2, 4))
    assert four == pytest.approx(2 * two, rel=0.1)
    checkpointed = tiny(noise=noise, backbone=dict(with_cp=True))
    assert count_saved_bytes(checkpointed, 2, 64, False) < 0.5 * two


def test_weights_and_states_take_four_bytes_each():
    config = load_config(CONFIG)
    apply_variant(config, 'ema')
    sizes = count_bytes(config, 2, 64)
    model = MODELS.build(config.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert sizes['weights'] == sizes['ema'] == 4 * total
    assert sizes['gradients'] == 4 * trained and sizes['optimizer'] == 8 * trained


def test_adapters_are_refused():
    config = load_config(CONFIG)
    apply_variant(config, 'lora')
    with pytest.raises(ValueError, match=r'adapters \(model.lora\) cannot be counted'):
        count_bytes(config, 2, 64)


@pytest.mark.slow
def test_table_has_a_row_per_variant(capsys):
    variants = ['reference', 'amp+ema']
    tool.main([str(CONFIG), '--variants', *variants, '--batch-size', '2', '--side', '64'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'GiB, batch of 2, 64x64'
    assert [line.split()[1] for line in lines[4:]] == variants


def test_unknown_option_is_one_line():
    with pytest.raises(SystemExit) as caught:
        tool.main([str(CONFIG), '--variants', 'nothing'])
    assert "option 'nothing': expected reference, amp, accumulate4" in caught.value.code
