"""Networks of IS-Net: encoder and decoder of residual U-blocks, and the encoder of masks.

Written from the paper; the names of layers and the numbers of channels are those of the released
weights (https://github.com/xuebinqin/DIS, Apache-2.0).
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# `depth` of a block that dilates instead of pooling; used on the smallest maps.
DILATED = '4F'


class ISNetOutputs(NamedTuple):
    """Outputs of both networks, six of each, from the largest map to the smallest.

    Attributes:
        logits: [B, 1, H, W], at the size of the input; the first is the prediction.
        features: [B, C_i, h_i, w_i], at 1/2, 1/4, ..., 1/64.
    """

    logits: list[Tensor]
    features: list[Tensor]


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


class ISNetEncoder(nn.Module):
    """Six stages, pooled in between, with side outputs; base of both networks.

    Args:
        stages: Arguments of each `ResidualUBlock`.
        side_channels: Channels of the six maps that become logits.
    """

    def __init__(self, stages: Iterable[tuple], side_channels: Iterable[int]):
        super().__init__()
        for i, stage in enumerate(stages, start=1):
            self.add_module(f'stage{i}', ResidualUBlock(*stage))
        for i, channels in enumerate(side_channels, start=1):
            self.add_module(f'side{i}', nn.Conv2d(channels, 1, 3, padding=1))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Returns the stages' maps, at 1/2 to 1/64, of the stem's map at 1/2."""
        maps = [self.stage1(x)]
        for i in range(2, 7):
            maps.append(self.get_submodule(f'stage{i}')(halve(maps[-1])))
        return maps

    def sides(self, features: list[Tensor], size: torch.Size) -> ISNetOutputs:
        """Returns the six maps with their logits at `size` (H, W)."""
        logits = [
            self.get_submodule(f'side{i}')(feature) for i, feature in enumerate(features, start=1)
        ]
        resized = [F.interpolate(logit, size, mode='bilinear') for logit in logits]
        return ISNetOutputs(resized, features)


class ISNetNetwork(ISNetEncoder):
    """Encoder and decoder of residual U-blocks with a side output at each level.

    Args:
        width: Channels of the first stage; 64 in the paper.
    """

    def __init__(self, width: int):
        w = width
        stages = [
            (7, w, w // 2, w),
            (6, w, w // 2, 2 * w),
            (5, 2 * w, w, 4 * w),
            (4, 4 * w, 2 * w, 8 * w),
            (DILATED, 8 * w, 4 * w, 8 * w),
            (DILATED, 8 * w, 4 * w, 8 * w),
        ]
        super().__init__(stages, [w, w, 2 * w, 4 * w, 8 * w, 8 * w])
        self.conv_in = nn.Conv2d(3, w, 3, stride=2, padding=1)
        self.stage5d = ResidualUBlock(DILATED, 16 * w, 4 * w, 8 * w)
        self.stage4d = ResidualUBlock(4, 16 * w, 2 * w, 4 * w)
        self.stage3d = ResidualUBlock(5, 8 * w, w, 2 * w)
        self.stage2d = ResidualUBlock(6, 4 * w, w // 2, w)
        self.stage1d = ResidualUBlock(7, 2 * w, w // 4, w)

    def forward(self, x: Tensor) -> ISNetOutputs:
        """Returns the outputs of images [B, 3, H, W].

        The features are the decoder's five maps and the last stage's.
        """
        *skips, lowest = self.encode(self.conv_in(x))
        features = [lowest]
        for i in range(5, 0, -1):
            up = self.get_submodule(f'stage{i}d')(join(features[0], skips.pop()))
            features.insert(0, up)
        return self.sides(features, x.shape[-2:])


class ISNetGTEncoderNetwork(ISNetEncoder):
    """Encoder of masks: six stages, each of which reconstructs the mask.

    Its features have the channels and sizes of those of an `ISNetNetwork` of the same width.

    Args:
        width: Width of that `ISNetNetwork`.
    """

    def __init__(self, width: int):
        w = width
        stages = [
            (7, w // 4, w // 4, w),
            (6, w, w // 4, w),
            (5, w, w // 2, 2 * w),
            (4, 2 * w, w // 2, 4 * w),
            (DILATED, 4 * w, w, 8 * w),
            (DILATED, 8 * w, w, 8 * w),
        ]
        super().__init__(stages, [w, w, 2 * w, 4 * w, 8 * w, 8 * w])
        self.conv_in = ConvBNReLU(1, w // 4, stride=2, suffix='')

    def forward(self, x: Tensor) -> ISNetOutputs:
        """Returns the outputs of masks [B, 1, H, W] in [0, 1]; features are the stages' maps."""
        return self.sides(self.encode(self.conv_in(x)), x.shape[-2:])
