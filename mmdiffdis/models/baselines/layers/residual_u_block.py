"""Residual U-blocks, from which U2-Net and IS-Net are built, and the stages that both share.

Written from the papers (Qin et al., Pattern Recognition 2020 and ECCV 2022); the names of layers
are those of the released weights (https://github.com/xuebinqin/U-2-Net and
https://github.com/xuebinqin/DIS, Apache-2.0).
"""

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# `depth` of a block that dilates instead of pooling; used on the smallest maps.
DILATED = '4F'


class ConvBNReLU(nn.Sequential):
    """3x3 convolution, batch norm and ReLU under the released names.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dilation: Dilation of the convolution.
        stride: Stride of the convolution.
        suffix: Suffix of the layers' names.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilation: int = 1,
        stride: int = 1,
        suffix: str = '_s1',
    ):
        conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation)
        layers = (conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
        names = (f'conv{suffix}', f'bn{suffix}', f'relu{suffix}')
        super().__init__(OrderedDict(zip(names, layers, strict=True)))


class ResidualUBlock(nn.ModuleDict):
    """Small U-Net with a residual connection (RSU of U^2-Net, Qin et al. 2020).

    Args:
        depth: Number of levels, the lowest of which is dilated instead of pooled; `DILATED`: four
            levels, all dilated and none pooled.
        in_channels: Channels of the input.
        mid_channels: Channels of the levels.
        out_channels: Channels of the output.
    """

    def __init__(self, depth: int | str, in_channels: int, mid_channels: int, out_channels: int):
        pools = depth != DILATED
        depth = depth if pools else 4
        dilations = [1] * (depth - 1) + [2] if pools else [2**i for i in range(depth)]
        encoder = {
            f'rebnconv{i}': ConvBNReLU(
                out_channels if i == 1 else mid_channels, mid_channels, dilation
            )
            for i, dilation in enumerate(dilations, start=1)
        }
        # the input is the coarser level concatenated with the skip
        decoder = {
            f'rebnconv{i}d': ConvBNReLU(
                2 * mid_channels, out_channels if i == 1 else mid_channels, dilation
            )
            for i, dilation in enumerate(dilations[:-1], start=1)
        }
        super().__init__(
            {'rebnconvin': ConvBNReLU(in_channels, out_channels), **encoder, **decoder}
        )
        self.depth = depth
        self.pools = pools

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        x = self['rebnconvin'](x)
        levels = [self['rebnconv1'](x)]
        for i in range(2, self.depth + 1):
            pools = self.pools and i < self.depth
            levels.append(self[f'rebnconv{i}'](halve(levels[-1]) if pools else levels[-1]))
        up = levels.pop()
        for i in range(self.depth - 1, 0, -1):
            up = self[f'rebnconv{i}d'](join(up, levels.pop()))
        return up + x


def halve(x: Tensor) -> Tensor:
    """Max-pools 2x2 with stride 2; odd sides are rounded up."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def join(up: Tensor, skip: Tensor) -> Tensor:
    """Resizes `up` to the size of `skip` and concatenates them: [B, C + C', H, W]."""
    return torch.cat([F.interpolate(up, skip.shape[-2:], mode='bilinear'), skip], dim=1)


class ResidualUStages(nn.Module):
    """Six encoder stages with pooling in between, and side outputs; base of the networks.

    Args:
        stages: Arguments of the `ResidualUBlock` of each encoder stage.
        side_channels: Channels of the six maps that become logits.
    """

    def __init__(self, stages: Iterable[tuple], side_channels: Iterable[int]):
        super().__init__()
        for i, stage in enumerate(stages, start=1):
            self.add_module(f'stage{i}', ResidualUBlock(*stage))
        for i, channels in enumerate(side_channels, start=1):
            self.add_module(f'side{i}', nn.Conv2d(channels, 1, 3, padding=1))

    def add_decoder(self, stages: Iterable[tuple]) -> None:
        """Adds the decoder's stages 5 to 1, given in this order."""
        for i, stage in zip(range(5, 0, -1), stages, strict=True):
            self.add_module(f'stage{i}d', ResidualUBlock(*stage))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Returns the maps of the encoder's stages, each half as large as the one before."""
        maps = [self.stage1(x)]
        for i in range(2, 7):
            maps.append(self.get_submodule(f'stage{i}')(halve(maps[-1])))
        return maps

    def decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Returns the decoder's five maps, the largest first, and the encoder's last."""
        *skips, lowest = maps
        decoded = [lowest]
        for i in range(5, 0, -1):
            decoded.insert(0, self.get_submodule(f'stage{i}d')(join(decoded[0], skips[i - 1])))
        return decoded

    def sides(self, maps: list[Tensor], size: torch.Size) -> list[Tensor]:
        """Returns the logits of six maps, resized to (H, W): [B, 1, H, W] each."""
        logits = [self.get_submodule(f'side{i}')(x) for i, x in enumerate(maps, start=1)]
        return [F.interpolate(logit, size, mode='bilinear') for logit in logits]


def u2net_stages(in_channels: int, width: int) -> tuple[list[tuple], list[tuple], list[int]]:
    """Returns encoder stages, decoder stages and side channels of U2-Net, which IS-Net took over.

    Args:
        in_channels: Channels of the first stage's input.
        width: Channels of the first stage's output; 64 in the papers.
    """
    w = width
    encoder = [
        (7, in_channels, w // 2, w),
        (6, w, w // 2, 2 * w),
        (5, 2 * w, w, 4 * w),
        (4, 4 * w, 2 * w, 8 * w),
        (DILATED, 8 * w, 4 * w, 8 * w),
        (DILATED, 8 * w, 4 * w, 8 * w),
    ]
    decoder = [
        (DILATED, 16 * w, 4 * w, 8 * w),
        (4, 16 * w, 2 * w, 4 * w),
        (5, 8 * w, w, 2 * w),
        (6, 4 * w, w // 2, w),
        (7, 2 * w, w // 4, w),
    ]
    return encoder, decoder, [w, w, 2 * w, 4 * w, 8 * w, 8 * w]
