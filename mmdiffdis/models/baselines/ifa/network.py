"""Network of IFA: each point of the finest map looks up the nearest pixel of all four levels.

A network of points turns what they find, and how far away they find it, into logits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act, resize
from ..layers.resnet import five_maps, five_widths


class IFAOutputs(NamedTuple):
    """Logits of background and foreground.

    Attributes:
        mask: [B, 2, H, W].
        auxiliary: Those of the third level alone, [B, 2, H, W].
    """

    mask: Tensor
    auxiliary: Tensor


def centres(size: Sequence[int], device: torch.device) -> Tensor:
    """Returns rows and columns of the centres of the pixels of a map that spans [-1, 1].

    Args:
        size: (h, w).
        device: Device of the result.

    Returns:
        [1, 2, h, w].
    """
    axes = [-1 + 1 / count + 2 / count * torch.arange(count, device=device) for count in size]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'))[None]


class Alignment(nn.Module):
    """Nearest pixels of one level, with sines and cosines of the distances to them.

    Args:
        num_frequencies: F, frequencies of rows and of columns; they are learnt.
    """

    def __init__(self, num_frequencies: int):
        super().__init__()
        frequencies = 2 ** torch.linspace(0, 6, num_frequencies, dtype=torch.float64)
        both = torch.kron(torch.eye(2, dtype=torch.float64), frequencies[:, None])
        self.frequencies = nn.Parameter(both.float())

    def forward(self, level: Tensor, size: Sequence[int]) -> Tensor:
        """Returns distances, sines, cosines and pixels, [B, 2 + 4 F + C, h, w].

        Distances from a pixel's centre to its border are 1.

        Args:
            level: [B, C, h', w'].
            size: (h, w), points on a grid.
        """
        # adding 1 rounds, as in the release: the largest frequency makes 64 times as much of it
        points = centres(size, level.device) + 1 - 1
        lookup = points[0].permute(1, 2, 0).flip(-1)[None]
        pixels, found = (
            F.grid_sample(x, lookup.expand(len(x), -1, -1, -1), 'nearest', align_corners=False)
            for x in (level, centres(level.shape[-2:], level.device))
        )
        rows, columns = (points - found).split(1, dim=1)
        distances = torch.cat([rows * level.shape[-2], columns * level.shape[-1]], dim=1)
        # no matrix product: autocast would round the angles
        angles = (self.frequencies[..., None, None] * distances[:, None]).sum(2)
        encoded = torch.cat([distances, angles.sin(), angles.cos()], dim=1)
        return torch.cat([encoded.expand(len(level), -1, -1, -1), pixels], dim=1)


class IFANetwork(BaseModule):
    """ResNet, alignment of its four levels, and a network of points.

    Args:
        backbone: Config of `ResNetV1s`.
        channels: C, width of the levels.
        num_frequencies: Frequencies of rows and of columns, see `Alignment`.
    """

    def __init__(self, backbone: dict, channels: int, num_frequencies: int):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.backbone.maxpool.ceil_mode = True  # as released: 1024 pixels become 257
        widths = five_widths(self.backbone)[1:]
        self.reduce = nn.ModuleList(conv_norm_act(width, channels, 1) for width in widths)
        self.alignments = nn.ModuleList(Alignment(num_frequencies) for _ in widths)
        self.alignments[0].requires_grad_(False)  # its points are its pixels' centres
        layers, before = [], len(widths) * (channels + 4 * num_frequencies + 2)
        for width in (2 * channels, channels, channels):
            layers += [nn.Conv1d(before, width, 1), nn.BatchNorm1d(width), nn.ReLU()]
            before = width
        self.points = nn.Sequential(*layers, nn.Conv1d(before, 2, 1))
        self.auxiliary = nn.Sequential(
            *conv_norm_act(widths[2], channels), nn.Dropout2d(0.1), nn.Conv2d(channels, 2, 1)
        )

    def forward(self, images: Tensor) -> IFAOutputs:
        """Returns the logits of images [B, 3, H, W]."""
        maps = five_maps(self.backbone, images)[1:]
        levels = [conv(x) for conv, x in zip(self.reduce, maps, strict=True)]
        size = levels[0].shape[-2:]
        aligned = [align(x, size) for align, x in zip(self.alignments, levels, strict=True)]
        logits = self.points(torch.cat(aligned, dim=1).flatten(2)).unflatten(2, size)
        auxiliary = self.auxiliary(maps[2])
        return IFAOutputs(*(resize(x, images, align_corners=True) for x in (logits, auxiliary)))
