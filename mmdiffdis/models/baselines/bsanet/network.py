"""Network of BSA-Net: object and background attended to separately, and guided by an edge map.

Written from the paper and observed numbers.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import add
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv, pad_to_multiple, resize

# of an image's sides, so that the maps have exact fractions of them
SIZE_DIVISOR = 32
# of the channels in the shuffled attention
GROUPS = 8


class BSANetOutputs(NamedTuple):
    """Logits, [B, 1, H, W] each; lists are from the finest level to the coarsest.

    Attributes:
        masks: Masks of the guided levels; the first is the prediction.
        coarse_masks: Masks of the levels before they are guided.
        edge: Edge map.
    """

    masks: list[Tensor]
    coarse_masks: list[Tensor]
    edge: Tensor


class Context(nn.Module):
    """Residual multi-scale features (the paper's RMFE): a chain of separated 3x3 convolutions.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        widths = (in_channels, channels, channels, channels)
        self.shortcut = conv(in_channels, channels, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv(width, channels, 1),
                conv(channels, channels, (1, 3)),
                conv(channels, channels, (3, 1)),
            )
            for width in widths
        )
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.merge = nn.Conv2d(4 * channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, h, w] -> [B, channels, h, w]."""
        first, *others = self.branches
        reduced, chain = self.reduce(x), [first(x)]
        for branch in others:
            chain.append(branch(reduced + chain[-1]))
        return F.relu(self.shortcut(x) + self.merge(torch.cat(chain, dim=1)))


class EdgeDecoder(nn.Module):
    """Edge map of the backbone's four stages.

    Args:
        in_channels: Channels of the stages.
        channels: Width of the decoder.
    """

    def __init__(self, in_channels: Sequence[int], channels: int):
        super().__init__()
        self.convs = nn.ModuleList(conv(width, channels) for width in in_channels)
        self.merge = conv(len(in_channels) * channels, channels)
        self.output = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits of the size of the first map."""
        pairs = zip(self.convs, maps, strict=True)
        maps = [resize(layer(x), maps[0], align_corners=True) for layer, x in pairs]
        return self.output(self.merge(torch.cat(maps, dim=1)))


class Separation(nn.Module):
    """Two features of a level: outside and inside of the object that the coarser level sees.

    Args:
        channels: C, width of the levels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.region = conv(channels, 1)
        self.outside = conv(channels, channels)
        self.inside = conv(channels, channels)

    def forward(self, x: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] and [B, C, h', w'] -> twice [B, C, h, w]."""
        outside = 1 - self.region(resize(coarse, x)).sigmoid()
        return self.outside(outside * x), self.inside((1 - outside) * x)


class ScaleAttention(nn.Module):
    """Weights in [0, 1] of each pixel and channel, of the pixel itself and of the map's mean.

    Args:
        channels: C, width of the map.
    """

    def __init__(self, channels: int):
        super().__init__()

        def bottleneck() -> list[nn.Module]:
            layers = []
            for before, after in ((channels, channels // 4), (channels // 4, channels)):
                layers += [nn.Conv2d(before, after, 1), nn.BatchNorm2d(after)]
                # before the norm it has no effect, and its gradient is a rounding error or zero
                layers[-2].bias.requires_grad_(False)
            return [*layers[:2], nn.ReLU(inplace=True), *layers[2:]]

        self.local_att = nn.Sequential(*bottleneck())
        self.global_att = nn.Sequential(nn.AdaptiveAvgPool2d(1), *bottleneck())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return (self.local_att(x) + self.global_att(x)).sigmoid()


class EdgeGuide(nn.Module):
    """Normalised features, scaled and shifted by what an edge map says (SPADE, Park et al. 2019).

    Args:
        channels: C, width of the features.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(inplace=True))
        self.mlp_gamma = nn.Conv2d(channels, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, edge: Tensor) -> Tensor:
        """[B, C, h, w] and logits [B, 1, h, w] -> [B, C, h, w]."""
        shared = self.mlp_shared(edge)
        return self.param_free_norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class ShuffleAttention(nn.Module):
    """Channel attention in one half of each group, spatial attention in the other.

    Source: Zhang and Yang, SA-Net: Shuffle Attention, ICASSP 2021.

    Args:
        channels: C, width of the map, a multiple of `2 * GROUPS`.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // (2 * GROUPS)
        self.cweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.cbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.sweight = nn.Parameter(torch.zeros(1, half, 1, 1))
        self.sbias = nn.Parameter(torch.ones(1, half, 1, 1))
        self.gn = nn.GroupNorm(half, half)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w], with the channels of both halves in turn."""
        by_channel, by_place = x.unflatten(1, (GROUPS, -1)).flatten(0, 1).chunk(2, dim=1)
        mean = by_channel.mean(dim=(2, 3), keepdim=True)
        halves = (
            by_channel * (self.cweight * mean + self.cbias).sigmoid(),
            by_place * (self.sweight * self.gn(by_place) + self.sbias).sigmoid(),
        )
        return F.channel_shuffle(torch.cat(halves, dim=1).view_as(x), 2)


class GuidedLevel(nn.Module):
    """Sum of a level's two features, each weighted and guided by the edge map.

    Args:
        channels: C, width of the level.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = ScaleAttention(channels)
        self.guide_outside = EdgeGuide(channels)
        self.guide_inside = EdgeGuide(channels)

    def forward(self, outside: Tensor, inside: Tensor, edge: Tensor) -> Tensor:
        """[B, C, h, w] twice and logits [B, 1, h, w] -> [B, C, h, w]."""
        weight = self.weight(outside + inside)
        outside = self.guide_outside(outside * weight, edge)
        return outside + self.guide_inside(inside * (1 - weight), edge)


class BSANetwork(BaseModule):
    """Backbone, edge decoder, four levels of separated features, and guided levels of one size.

    Args:
        backbone: Config of a `Res2Net`.
        channels: Width of the levels, a multiple of 16; 64 in the release.
    """

    def __init__(self, backbone: dict, channels: int):
        super().__init__(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in'))

        def output() -> nn.Conv2d:
            return nn.Conv2d(channels, 1, 3, padding=1)

        self.backbone = MODELS.build(backbone)
        widths = self.backbone.num_features[1:]
        finer = range(len(widths) - 1)
        self.edge = EdgeDecoder(widths, channels)
        self.contexts = nn.ModuleList(Context(width, channels) for width in widths)
        self.separations = nn.ModuleList(Separation(channels) for _ in finer)
        self.coarse_outputs = nn.ModuleList(output() for _ in widths)
        self.coarsest_guide = EdgeGuide(channels)
        self.levels = nn.ModuleList(GuidedLevel(channels) for _ in finer)
        self.shuffles = nn.ModuleList(ShuffleAttention(channels) for _ in widths)
        self.fusions = nn.ModuleList(conv(2 * channels, channels, relu=True) for _ in finer)
        self.outputs = nn.ModuleList(output() for _ in widths)

    def forward(self, images: Tensor) -> BSANetOutputs:
        """Returns the logits of images [B, 3, H, W]."""
        # 1. four maps of the padded image, at 1/4 to 1/32, and their edge map
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, SIZE_DIVISOR)
        maps = self.backbone(images)[1:]
        edge = self.edge(maps)

        # 2. from coarse to fine, each level is separated by the one before
        *contexts, coarsest = (context(x) for context, x in zip(self.contexts, maps, strict=True))
        separated, x = [], coarsest
        for separation, context in zip(self.separations[::-1], contexts[::-1], strict=True):
            x, inside = separation(context, x)
            separated.insert(0, (x, inside))

        # 3. all levels at 1/4, guided by the edge map and fused from coarse to fine
        guided = [self.shuffles[-1](self.coarsest_guide(resize(coarsest, edge), edge))]
        for i in reversed(range(len(separated))):
            x = self.levels[i](*(resize(x, edge) for x in separated[i]), edge)
            x = self.shuffles[i](x)
            guided.insert(0, self.fusions[i](torch.cat([x, x * guided[0]], dim=1)))

        # 4. each guided level adds to the mask of the coarser one
        steps = [layer(x) for layer, x in zip(self.outputs, guided, strict=True)]
        masks = [*accumulate(reversed(steps), add)][::-1]
        levels = [*(outside for outside, _ in separated), coarsest]
        coarse = [layer(x) for layer, x in zip(self.coarse_outputs, levels, strict=True)]
        *logits, edge = (resize(x, images)[..., :height, :width] for x in (*masks, *coarse, edge))
        return BSANetOutputs(logits[: len(masks)], logits[len(masks) :], edge)
