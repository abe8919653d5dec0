"""tools/model_converters/publish_model.py: weights of a training checkpoint alone."""

import pytest
import torch
from conftest import load_tool
from safetensors.torch import load_file


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Runs the tool on a training checkpoint with a LoRA adapter and returns its weights."""
    monkeypatch.chdir(tmp_path)
    weights = {
        'lora_scaling': torch.tensor(0.5),
        'vae.fc.base_layer.weight': torch.zeros(3, 2),
        'vae.fc.lora_A.default.weight': torch.ones(1, 2),
        'vae.fc.lora_B.default.weight': torch.ones(3, 1),
        'backbone.counter': torch.tensor(7),
    }
    torch.save(dict(state_dict=weights, optimizer={}, meta={}), 'iter_1.pth')
    tool = load_tool('model_converters/publish_model.py')

    def run(*arguments):
        tool.main(['iter_1.pth', '--out', 'out.safetensors', *arguments])
        return load_file('out.safetensors')

    return run


def test_adapters_are_merged_and_integers_kept(publish, capsys):
    weights = publish('--dtype', 'float16')
    assert weights.keys() == {'vae.fc.weight', 'backbone.counter'}
    assert torch.equal(weights['vae.fc.weight'], torch.full((3, 2), 0.5).half())
    assert weights['backbone.counter'].dtype == torch.int64
    assert 'out.safetensors: 2 tensors' in capsys.readouterr().out


def test_prefix_selects_weights(publish, tmp_path):
    assert publish('--prefix', 'vae.').keys() == {'vae.fc.weight'}
    with pytest.raises(SystemExit, match='--prefix neck.: no weight of iter_1.pth begins with it'):
        publish('--prefix', 'neck.')


def test_weights_that_others_supply_are_left_out(publish):
    assert publish('--without', 'vae.').keys() == {'backbone.counter'}
    with pytest.raises(SystemExit, match='--without neck.: 0 of 2 weights begin with it'):
        publish('--without', 'neck.')
    with pytest.raises(SystemExit, match='--without vae.: 1 of 1 weights'):
        publish('--prefix', 'vae.', '--without', 'vae.')
