"""tools/analysis_tools/training_memory.py: counts of what is not there, against what is."""

import pytest
from conftest import ROOT, load_tool
from torch._subclasses.fake_tensor import FakeTensorMode

tool = load_tool('analysis_tools/training_memory.py')

CONFIG = ROOT / 'configs/diffdis/diffdis_tiny_1xb16-1k2_synthetic-dis-128x128.py'


@pytest.mark.parametrize('half', [False, True])
def test_tensors_without_content_are_as_large(tiny, half):
    noise = dict(type='GaussianNoise')
    real = tool.saved_bytes(tiny(noise=noise).train(), 2, 64, half)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fake = tool.saved_bytes(tiny(noise=noise).train(), 2, 64, half)
    assert fake == pytest.approx(real, rel=0.01) and real > 0


def test_activations_grow_with_the_batch_and_checkpointing_saves_them(tiny):
    noise = dict(type='GaussianNoise')
    two, four = (tool.saved_bytes(tiny(noise=noise), n, 64, False) for n in (2, 4))
    assert four == pytest.approx(2 * two, rel=0.1)
    checkpointed = tiny(noise=noise, backbone=dict(with_cp=True))
    assert tool.saved_bytes(checkpointed, 2, 64, False) < 0.5 * two


def test_weights_and_states_are_four_bytes_a_number():
    config = tool.load_config(str(CONFIG), fragments=[tool.OPTIONS / 'ema.py'])
    counted = tool.count(config, 2, 64)
    model = tool.MODELS.build(config.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    numbers = sum(p.numel() for p in model.parameters())
    assert counted['weights'] == counted['ema'] == 4 * numbers
    assert counted['gradients'] == 4 * trained and counted['optimizer'] == 8 * trained


def test_adapters_are_refused():
    with pytest.raises(SystemExit) as caught:
        tool.main([str(CONFIG), '--variants', 'lora'])
    assert 'adapters cannot be counted' in caught.value.code


def test_table_has_a_row_per_variant(capsys):
    variants = ['reference', 'bfloat16']
    tool.main([str(CONFIG), '--variants', *variants, '--batch-size', '2', '--side', '64'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'GiB, batch of 2, 64x64'
    assert [line.split()[1] for line in lines[4:]] == variants
