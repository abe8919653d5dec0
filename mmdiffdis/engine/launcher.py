"""Process groups of launched trainings and tests, with and without GPUs."""

import gc
import os

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import MODEL_WRAPPERS
from torch import nn


@MODEL_WRAPPERS.register_module()
class TestWrapper(nn.Module):
    """Model of a test in one of several processes, which all load the same weights.

    MMEngine's wrapper averages gradients, and refuses a model without trained parameters.

    Args:
        module: The model.
    """

    __test__ = False  # not for pytest

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def test_step(self, data: dict) -> list:
        """Returns the model's predictions of a batch."""
        return self.module.test_step(data)


def set_launcher(
    config: Config, launcher: str, local_rank: int | None = None, training: bool = True
) -> None:
    """Makes `config` run in the processes that `launcher` started, with or without GPUs.

    MMEngine selects a CUDA device in every launched process. Without GPUs, this function makes the
    process group with gloo, wraps the model without devices and removes `sync_bn`.

    Args:
        config: Config, changed in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        local_rank: Rank on this machine, if the environment does not have it.
        training: False for a test, which computes no gradients.

    Raises:
        ValueError: If `launcher` is 'slurm' or 'mpi', and there is no GPU.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank or 0))
    if not training and launcher != 'none':
        config.model_wrapper_cfg = ConfigDict(type=TestWrapper.__name__)
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ValueError(f'--launcher {launcher} needs GPUs: expected pytorch without a GPU')
    torch.distributed.init_process_group('gloo')
    config.pop('sync_bn', None)  # torch's synchronised BatchNorm runs on GPUs only
    if not training:
        return
    wrapper = config.setdefault('model_wrapper_cfg', ConfigDict())
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.device_ids = None


def leave_process_group() -> None:
    """Frees models and loaders that have been released, and destroys the process group, if any.

    A thread of the group that is left when the program ends may abort it (pytorch#190489). A loader
    that is left (with pinned memory and persistent workers) makes it wait 5 s for each worker. Not
    for a process that failed: it would wait for others that wait for it.
    """
    gc.collect()  # the runner holds them in reference cycles
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
