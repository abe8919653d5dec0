"""FSDP wrapping policy: one unit per block of the U-Net and the VAE."""

from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    DownEncoderBlock2D,
    UpBlock2D,
    UpDecoderBlock2D,
)
from mmengine.registry import FUNCTIONS
from torch import nn

BLOCKS = (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    DownEncoderBlock2D,
    UpBlock2D,
    UpDecoderBlock2D,
)


@FUNCTIONS.register_module(name='mmdiffdis.wrap_blocks')
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
