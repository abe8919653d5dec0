"""Network of U2-Net and of its small version, U2-Net-p: a U-Net of residual U-blocks.

Written from the paper; the names of layers and the numbers of channels are those of the released
weights (https://github.com/xuebinqin/U-2-Net, Apache-2.0).
"""

import torch
from torch import Tensor, nn

from ..layers.residual_u_block import DILATED, ResidualUStages, u2net_stages


class U2NetNetwork(ResidualUStages):
    """Encoder and decoder at full resolution, whose six side outputs are fused into one.

    Args:
        width: Channels of the first stage; 64 in the paper.
        light: Whether all stages have `width` channels, and `width // 4` inside, as in U2-Net-p.
    """

    def __init__(self, width: int, light: bool):
        stages = _light_stages(width) if light else u2net_stages(3, width)
        encoder, decoder, side_channels = stages
        super().__init__(encoder, side_channels)
        self.add_decoder(decoder)
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the fused logits and those of the six sides, [B, 1, H, W], of [B, 3, H, W]."""
        sides = self.sides(self.decode(self.encode(x)), x.shape[-2:])
        return [self.outconv(torch.cat(sides, dim=1)), *sides]


def _light_stages(width: int) -> tuple[list[tuple], list[tuple], list[int]]:
    """Returns stages and side channels of U2-Net-p in the form of `u2net_stages`."""
    depths = (7, 6, 5, 4, DILATED, DILATED)
    inner = width // 4
    first, *others = depths
    encoder = [(first, 3, inner, width), *((depth, width, inner, width) for depth in others)]
    decoder = [(depth, 2 * width, inner, width) for depth in reversed(depths[:-1])]
    return encoder, decoder, [width] * 6
