"""Launchers without a GPU, and the end of a launched program."""

import gc
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmdiffdis.engine.launcher import leave_process_group, set_launcher


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_slurm_needs_gpus():
    with pytest.raises(ValueError, match='--launcher slurm needs GPUs: expected pytorch without'):
        set_launcher(Config(), 'slurm')


def test_no_loader_is_left_whose_workers_the_program_would_wait_for():
    loader = DataLoader(range(4), num_workers=1, persistent_workers=True)
    iterator = iter(loader)
    kind = type(iterator)
    loader.itself = loader  # a reference cycle, as those of a runner
    del loader, iterator
    gc.disable()
    try:
        assert any(type(thing) is kind for thing in gc.get_objects())
        leave_process_group()
        assert not any(type(thing) is kind for thing in gc.get_objects())
    finally:
        gc.enable()


def test_model_without_trained_parameters_can_be_tested_in_several_processes(monkeypatch):
    """Table 1: torch's wrapper for training refuses it."""
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: None)
    config = Config(dict(sync_bn='torch'))
    set_launcher(config, 'pytorch', training=False)
    model = nn.Linear(1, 1).requires_grad_(False)
    model.test_step = lambda data: [data]
    runner = SimpleNamespace(distributed=True, cfg=Config(dict(sync_bn=None)))
    wrapped = Runner.wrap_model(runner, config.model_wrapper_cfg, model)
    assert is_model_wrapper(wrapped) and wrapped.module is model
    assert wrapped.test_step(3) == [3]
