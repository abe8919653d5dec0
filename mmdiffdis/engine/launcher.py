"""Launched processes: process groups with and without GPUs."""

import gc
import os

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device


def set_launcher(config: Config, launcher: str, local_rank: int | None = None) -> None:
    """Makes `config` run in the processes that `launcher` started, with or without GPUs.

    MMEngine selects a CUDA device in every launched process. Where there is none, the process group
    is made here, with gloo, the model is wrapped without devices, and `sync_bn` is left out.

    Raises:
        ValueError: `launcher` is 'slurm' or 'mpi', and there is no GPU.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank or 0))
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'got --launcher {launcher}, but without a GPU only --launcher pytorch works.'
        )
    torch.distributed.init_process_group('gloo')
    config.pop('sync_bn', None)  # torch has it for GPUs only
    wrapper = config.setdefault('model_wrapper_cfg', ConfigDict())
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.device_ids = None


def leave_process_group() -> None:
    """Ends what launched processes communicate by, when all is done and the model is not needed.

    A thread of it that is left when the program ends may abort it (pytorch#190489). Not for a
    process that failed: it would wait for others that wait for it.
    """
    if torch.distributed.is_initialized():
        gc.collect()  # models of the past, which hold the group
        torch.distributed.destroy_process_group()
