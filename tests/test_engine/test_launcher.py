"""Launchers without a GPU, and the end of a launched program."""

import gc

import pytest
import torch
from mmengine.config import Config
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
