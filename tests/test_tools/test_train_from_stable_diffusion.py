"""tools/train.py with a model that starts from a Stable Diffusion folder."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_config, training_config
from helpers import train, training_error
from mmengine.runner import CheckpointLoader


@pytest.fixture
def config(tmp_path, monkeypatch, write_set) -> Path:
    """Path of a config that starts from ./sd-turbo, in the current folder."""
    write_set(tmp_path / 'set', 'DIS-TR', stems=('a',))
    init_cfg = dict(type='StableDiffusionInit', pretrained='./sd-turbo')
    path = tmp_path / 'tiny.py'
    path.write_text(training_config(tiny_config(init_cfg=init_cfg), max_iters=1))
    monkeypatch.chdir(tmp_path)
    return path


def test_training_starts_from_the_folder(config, predict_v, monkeypatch, tiny):
    train(monkeypatch, config)
    shutil.rmtree(predict_v)  # no longer needed
    state = CheckpointLoader.load_checkpoint('work_dirs/tiny/iter_1.pth', 'cpu')['state_dict']
    fresh = tiny()
    assert not torch.equal(state['prompt'], fresh.prompt)
    fresh.load_state_dict(state)
    assert fresh.scheduler.prediction_type == 'v_prediction'
    mutual = fresh.neck.transformer.mutual_attention.attention.to_q.weight
    assert torch.equal(mutual, fresh.neck.transformer.self_attention.to_q.weight)
    (log,) = Path('work_dirs/tiny').glob('*/*.log')
    assert 'sd-turbo predicts v_prediction' in log.read_text()
    assert 'StableDiffusionInit: ./sd-turbo' in log.read_text()


def test_missing_folder_is_one_line(config, monkeypatch, capsys):
    message = training_error(monkeypatch, capsys, config)
    assert './sd-turbo is not a folder; expected one with unet/, vae/' in message
    assert '--cfg-options model.init_cfg.pretrained=...' in message


def test_missing_transformers_is_one_line(config, stable_diffusion, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    message = training_error(monkeypatch, capsys, config)
    assert 'transformers is needed once' in message
    assert "pip install 'mmdiffdis[convert]'" in message
