"""Strategies that keep `sync_bn`, and FSDP's units: one per block of the U-Net and the VAE."""

from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    DownEncoderBlock2D,
    UpBlock2D,
    UpDecoderBlock2D,
)
from mmengine._strategy import DeepSpeedStrategy, FSDPStrategy
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn

BLOCKS = (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    DownEncoderBlock2D,
    UpBlock2D,
    UpDecoderBlock2D,
)


@FUNCTIONS.register_module()
def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Returns whether FSDP makes `module` a unit: only blocks of the U-Net and the VAE.

    The weights of a unit are there only while its `forward` runs. The backbone as a whole is
    called by other methods (`encode`, `decode`), so weights outside of blocks belong to the
    outermost unit.

    Args:
        module: Part of the model.
        recurse: Whether FSDP asks to look inside `module`, which is always granted.
        nonwrapped_numel: Number of weights in `module` that belong to no unit yet; not used.
    """
    return recurse or isinstance(module, BLOCKS)


class _SyncBNStrategy:
    """Mixin of a strategy that applies `sync_bn`, which MMEngine's strategies ignore."""

    def __init__(self, *, sync_bn: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.sync_bn = sync_bn

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Returns the model, its BatchNorm replaced by that with the global batch's statistics."""
        model = super().build_model(model)
        return convert_sync_batchnorm(model, self.sync_bn) if self.sync_bn else model


@STRATEGIES.register_module()
class SyncBNFSDPStrategy(_SyncBNStrategy, FSDPStrategy):
    """MMEngine's `FSDPStrategy` with `sync_bn`."""


@STRATEGIES.register_module()
class SyncBNDeepSpeedStrategy(_SyncBNStrategy, DeepSpeedStrategy):
    """MMEngine's `DeepSpeedStrategy` with `sync_bn`."""


# Strategies that apply `sync_bn`; one process needs none.
WITH_SYNC_BN = ('DDPStrategy', 'SyncBNFSDPStrategy', 'SyncBNDeepSpeedStrategy')
WITHOUT_PROCESSES = ('SingleDeviceStrategy',)
