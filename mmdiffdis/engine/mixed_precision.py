"""Mixed precision in training: the `--amp` of `tools/train.py`, and bfloat16 on the CPU."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from ..utils.environment import is_emulated


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on any device.

    MMEngine's AmpOptimWrapper refuses to train on a CPU. bfloat16 has the range of float32, so the
    loss is not scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass of a training step."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def set_mixed_precision(config: Config, device: str) -> None:
    """Sets the optimizer wrapper of `config` to bfloat16, or float16 on GPUs without bfloat16.

    Autoencoders are computed in float32 then, because Stable Diffusion's overflows in float16.

    Args:
        config: Training config, changed in place.
        device: Type of the device that will train, e.g. 'cpu' or 'cuda'.

    Raises:
        ValueError: If the optimizer wrapper of `config` is neither OptimWrapper nor
            AmpOptimWrapper, or has settings of float16 for a CPU.
    """
    wrapper = config.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(
            f'--amp replaces OptimWrapper, but the config has optim_wrapper.type={kind!r}; leave '
            'out --amp'
        )
    if device == 'cpu':
        if settings := [key for key in ('dtype', 'loss_scale') if key in wrapper]:
            raise ValueError(
                f'--amp trains in bfloat16 on a CPU, without optim_wrapper.{settings[0]}='
                f'{wrapper[settings[0]]!r}: leave out one of them'
            )
        wrapper.type = 'BFloat16OptimWrapper'
        if is_emulated(torch.bfloat16):
            print_log(
                '--amp: this CPU emulates bfloat16, which takes many times as long as float32; '
                'leave out --amp',
                logger='current',
                level=logging.WARNING,
            )
        return
    wrapper.type = 'AmpOptimWrapper'
    # V100 and T4 emulate bfloat16, slowly
    bfloat16 = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(False)
    wrapper.setdefault('dtype', 'bfloat16' if bfloat16 else 'float16')


def check_mixed_precision(config: Config, device: str) -> None:
    """Checks that the optimizer wrapper of `config` runs on a device of type `device`.

    Raises:
        ValueError: If it is AmpOptimWrapper, and the device is a CPU.
    """
    if device == 'cpu' and config.optim_wrapper.get('type') == 'AmpOptimWrapper':
        raise ValueError(
            'AmpOptimWrapper needs a GPU, and there is none; --amp trains in bfloat16 on a CPU'
        )
