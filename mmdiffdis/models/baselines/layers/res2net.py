"""Res2Net, with the layers' names of its published weights."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .conv import deep_stem

# into so many parts, the block's `scale`, are its channels split
SCALE = 4
EXPANSION = 4


class Res2Block(nn.Module):
    """Bottleneck whose 3x3 convolution is a chain of narrow ones (Gao et al., TPAMI 2021).

    Its channels are split. Each part but the last is convolved, after the convolved part before it
    was added. In the first block of a stage nothing is added, and the last part is pooled.

    Args:
        in_channels: Channels of the input.
        channels: A quarter of the channels of the output.
        stride: Stride of the block.
        dilation: Dilation of the 3x3 convolutions.
        first: Whether it is the first block of a stage.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, dilation: int, first: bool):
        super().__init__()
        width = channels * 26 // 64
        out_channels = EXPANSION * channels
        narrow = dict(stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.conv1 = nn.Conv2d(in_channels, SCALE * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(SCALE * width)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, **narrow) for _ in range(SCALE - 1))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in self.convs)
        self.conv3 = nn.Conv2d(SCALE * width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.pool = nn.AvgPool2d(3, stride, padding=1) if first else nn.Identity()
        self.downsample = nn.Identity()
        if first:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, 4 * channels, H / stride, W / stride]."""
        *parts, last = F.relu(self.bn1(self.conv1(x))).chunk(SCALE, dim=1)
        convolved = []
        for part, conv, norm in zip(parts, self.convs, self.bns, strict=True):
            chained = convolved and not self.first
            convolved.append(F.relu(norm(conv(part + convolved[-1] if chained else part))))
        out = self.bn3(self.conv3(torch.cat([*convolved, self.pool(last)], dim=1)))
        return F.relu(out + self.downsample(x))


@MODELS.register_module()
class Res2Net(BaseModule):
    """Res2Net v1b 26w 4s: a stem of three convolutions, four stages, average pooling in skips.

    Its five maps are the pooled stem and the stages, at 1/4, 1/4, 1/8, 1/16, 1/32. The published
    ImageNet weights (https://github.com/Res2Net/Res2Net-PretrainedModels) fit but for the
    classifier `fc`.

    Attributes:
        UNUSED: Beginnings of the published weights that it lacks.
        num_features: Channels of the five maps.

    Args:
        dilations: Dilation of each block, for each stage; the default is Res2Net-50.
        width: Channels of the stem; 64 in the published weights.
        init_cfg: MMEngine's initialisation config; None: He initialisation.
    """

    UNUSED = ('fc.',)

    def __init__(
        self,
        dilations: Sequence[Sequence[int]] = ((1,) * 3, (1,) * 4, (1,) * 6, (1,) * 3),
        width: int = 64,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        self.conv1 = deep_stem(width)
        self.bn1 = nn.BatchNorm2d(width)
        self.num_features = [width]
        self.stages = [f'layer{i}' for i in range(1, len(dilations) + 1)]
        for i, (name, stage) in enumerate(zip(self.stages, dilations, strict=True)):
            channels, blocks = width * 2**i, []
            for j, dilation in enumerate(stage):
                in_channels = EXPANSION * channels if j else self.num_features[-1]
                stride = 2 if i and not j else 1
                blocks.append(Res2Block(in_channels, channels, stride, dilation, first=not j))
            self.add_module(name, nn.Sequential(*blocks))
            self.num_features.append(EXPANSION * channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the five maps of images [B, 3, H, W]."""
        stem = F.relu(self.bn1(self.conv1(images)))
        maps = [F.max_pool2d(stem, 3, stride=2, padding=1)]
        for name in self.stages:
            maps.append(self.get_submodule(name)(maps[-1]))
        return maps
