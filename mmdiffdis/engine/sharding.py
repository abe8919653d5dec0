"""Where a model is divided when its weights are shared among GPUs."""

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
    """Whether FSDP makes `module` a unit: blocks of U-Net and VAE, and nothing smaller or larger.

    A unit has its weights only while its `forward` runs. The backbone as a whole is called by other
    methods (`encode`, `decode`), so what is of no block belongs to the outermost unit.

    Args:
        module: a part of the model.
        recurse: asks whether to look inside `module`: always.
        nonwrapped_numel: numbers in `module` that belong to no unit yet; not used.
    """
    return recurse or isinstance(module, BLOCKS)
