"""Network of FP-DIS: frequency priors of the image modulate the harmonised levels of a ResNet."""

import math
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act, resize
from ..layers.precision import without_autocast
from ..layers.resnet import five_maps, five_widths

# Limits of the sum of both frequencies, where 1 is the largest: low, middle and high frequencies
# are the first 1/16 of the spectrum, the second, and the other 7/8
BANDS = (0, 8**-0.5, 0.5, 2)


def cosines(side: int, device: torch.device) -> Tensor:
    """Returns the orthonormal discrete cosine transform (DCT-II), [frequencies, places]."""
    places = torch.arange(side, device=device)
    # turns of a circle are left out as integers, which float32 would round
    angles = (2 * places + 1) * places[:, None] % (4 * side) * (math.pi / (2 * side))
    return angles.cos() * torch.where(places == 0, 1 / side, 2 / side).sqrt()[:, None]


def band_filters(height: int, width: int, device: torch.device) -> Tensor:
    """Returns where the spectrum belongs to each of the `BANDS`, 0 or 1, [3, H, W]."""
    rows, columns = (torch.arange(side, device=device) / side for side in (height, width))
    total = rows[:, None] + columns
    return torch.stack([(low <= total) & (total < high) for low, high in pairwise(BANDS)]).float()


class FrequencyPriorGenerator(nn.Module):
    """Images without all but some frequencies, chosen by a fixed and a learnt filter of each band.

    `prior = DCT^-1(DCT(image) * (fixed + s(learnt)))`, `s(x) = (1 - exp(-x)) / (1 + exp(-x))`.
    Source of the formula, its bands and its initial values: Qian et al., Thinking in Frequency,
    ECCV 2020.

    Args:
        size: Height and width of the learnt filters, which are resized to the images' spectrum.
    """

    def __init__(self, size: int):
        super().__init__()
        self.learnt = nn.Parameter(0.1 * torch.randn(len(BANDS) - 1, size, size))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the priors of images [B, 3, H, W], [B, 9, H, W], the lowest band first."""
        size, device = images.shape[-2:], images.device
        with without_autocast(images):  # the mean is a thousand times as large as other frequencies
            rows, columns = (cosines(side, device) for side in size)
            learnt = F.interpolate(self.learnt[None], size, mode='bilinear')[0]
            filters = band_filters(*size, device) + (learnt / 2).tanh()
            spectrum = rows @ images.float() @ columns.T
            return (rows.T @ (spectrum[:, None] * filters[:, None]) @ columns).flatten(1, 2)


class FeatureHarmonization(nn.Module):
    """Mean of a level and the coarser one, weighted by gates that groups of channels compute.

    `fuse(gate * fine + (1 - gate) * coarse)`; a group's gates see its channels of both levels.

    Args:
        channels: C, width of both levels.
        groups: Number of groups.
    """

    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 3, padding=1, groups=groups)
        self.fuse = conv_norm_act(channels, channels)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """[B, C, h, w] and [B, C, h', w'] -> [B, C, h, w]."""
        coarse = resize(coarse, fine)
        # channels of both levels in turn, so that each group has both
        gate = self.gate(torch.stack([fine, coarse], dim=2).flatten(1, 2)).sigmoid()
        return self.fuse(gate * fine + (1 - gate) * coarse)


class FrequencyPriorEmbedding(nn.Module):
    """A level that the priors scale and shift: `level * (1 + scale) + shift`.

    Args:
        channels: C, width of level and priors.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.modulation = nn.Conv2d(channels, 2 * channels, 3, padding=1)

    def forward(self, level: Tensor, priors: Tensor) -> Tensor:
        """[B, C, h, w] and [B, C, H, W] -> [B, C, h, w]."""
        priors = F.adaptive_avg_pool2d(priors, level.shape[-2:])
        scale, shift = self.modulation(priors).chunk(2, dim=1)
        return level * (1 + scale) + shift


class FPDISNetwork(BaseModule):
    """ResNet, harmonisation, embedding of frequency priors, and a decoder from coarse to fine.

    Args:
        backbone: Config of mmseg's `ResNet`.
        channels: C, width of all levels.
        groups: Groups of a `FeatureHarmonization`.
        filter_size: Height and width of the learnt filters.
    """

    def __init__(self, backbone: dict, channels: int, groups: int, filter_size: int):
        super().__init__(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in'))
        self.backbone = MODELS.build(backbone)
        widths = five_widths(self.backbone)[::-1]
        self.priors = nn.Sequential(
            FrequencyPriorGenerator(filter_size),
            nn.Conv2d(9, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.reduce = nn.ModuleList(conv_norm_act(width, channels, 1) for width in widths)
        self.harmonize = nn.ModuleList(FeatureHarmonization(channels, groups) for _ in widths[1:])
        self.embed = nn.ModuleList(FrequencyPriorEmbedding(channels) for _ in widths)
        self.decode = nn.ModuleList(conv_norm_act(channels, channels) for _ in widths)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns logits of images [B, 3, H, W], at 1/32, 1/16, 1/8, 1/4 and 1."""
        maps = five_maps(self.backbone, images)[::-1]
        levels = [conv(x) for conv, x in zip(self.reduce, maps, strict=True)]
        for i, harmonize in enumerate(self.harmonize, start=1):
            levels[i] = harmonize(levels[i], levels[i - 1])
        priors = self.priors(images)
        levels = [embed(level, priors) for embed, level in zip(self.embed, levels, strict=True)]
        logits, x = [], torch.zeros_like(levels[0])
        for level, decode, output in zip(levels, self.decode, self.outputs, strict=True):
            x = decode(level + resize(x, level))
            logits.append(output(x))
        return [*logits[:-1], resize(logits[-1], images)]
