"""Launchers without a GPU."""

import pytest
import torch
from mmengine.config import Config

from mmdiffdis.engine.launcher import set_launcher


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_slurm_needs_gpus():
    with pytest.raises(ValueError, match='--launcher slurm needs GPUs: expected pytorch without'):
        set_launcher(Config(), 'slurm')
