"""Network of UDUN: one encoder at two sizes, decoders of trunk and structure, and their union.

The image is seen at its own size (high) and at a quarter of its sides (low), so that the low maps
have the size of high maps two levels up. The trunk is the inside of the object, the structure what
remains near its outline.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act, pad_to_multiple, resize
from ..layers.resnet import five_maps, five_widths

# of an image's sides: a quarter of them is divided by 8 in the low maps that meet high ones
SIZE_DIVISOR = 32


class UDUNOutputs(NamedTuple):
    """Logits.

    Attributes:
        trunk: [B, 1, H' / 8, W' / 8] of the padded image, [H', W'].
        structure: [B, 1, H, W].
        mask: [B, 1, H, W].
    """

    trunk: Tensor
    structure: Tensor
    mask: Tensor


def reduce(in_channels: int, out_channels: int) -> nn.Sequential:
    """Returns the two convolutions that reduce a map of the encoder."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1), *conv_norm_act(out_channels, out_channels)
    )


class Merge(nn.Module):
    """Sum of two neighbouring levels, at the size of the finer one.

    Args:
        channels: C, width of both levels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.coarse = conv_norm_act(channels, channels, 1)
        self.fine = conv_norm_act(channels, channels, 1)
        self.fuse = conv_norm_act(channels, channels)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """[B, C, h', w'] and [B, C, h, w] -> [B, C, h, w]."""
        return self.fuse(self.coarse(resize(coarse, fine)) + self.fine(fine))


class TrunkDecoder(nn.Module):
    """Merges all neighbours of five levels into four, these into three, two and one.

    Args:
        channels: C, width of the levels.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.rounds = nn.ModuleList(
            nn.ModuleList(Merge(channels) for _ in range(merges)) for merges in (4, 3, 2, 1)
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Returns the coarsest level after the second, third and fourth round.

        Args:
            levels: Five maps [B, C, h_i, w_i], from coarse to fine.
        """
        coarsest = []
        for merges in self.rounds:
            pairs = zip(merges, pairwise(levels), strict=True)
            levels = [merge(*pair) for merge, pair in pairs]
            coarsest.append(levels[0])
        return coarsest[1:]


class StructureDecoder(nn.Module):
    """Adds six levels from coarse to fine.

    Args:
        width: c: the finest level has c channels, the others have 2c.
    """

    def __init__(self, width: int):
        super().__init__()
        self.convs = nn.ModuleList(conv_norm_act(2 * width, 2 * width) for _ in range(5))
        self.convs.append(conv_norm_act(width, width))
        self.reduce = conv_norm_act(2 * width, width, 1)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Returns six maps of the shapes of `levels`, which are from coarse to fine."""
        maps = [self.convs[0](levels[0])]
        for conv, level in zip(self.convs[1:-1], levels[1:-1], strict=True):
            maps.append(conv(resize(maps[-1], level) + level))
        finest = self.reduce(resize(maps[-1], levels[-1])) + levels[-1]
        return [*maps, self.convs[-1](finest)]


class Union(nn.Module):
    """Structure that a guide weights and is added to.

    Args:
        guide_channels: Channels of the guide.
        channels: C, channels of the structure.
    """

    def __init__(self, guide_channels: int, channels: int):
        super().__init__()
        self.gate = nn.Conv2d(guide_channels, 1, 1)
        self.gated = conv_norm_act(channels, channels)
        self.structure = conv_norm_act(channels, channels)
        self.guide = conv_norm_act(guide_channels, channels, 1)
        self.fuse = conv_norm_act(channels, channels)

    def forward(self, guide: Tensor, structure: Tensor) -> Tensor:
        """[B, guide_channels, h, w] and [B, C, h, w] -> [B, C, h, w]."""
        gated = self.gated(self.gate(guide).sigmoid() * structure)
        return self.fuse(self.structure(gated + structure) + self.guide(guide))


class UnionDecoder(nn.Module):
    """Unites trunk and structure from coarse to fine.

    The guide of the three coarser levels is the trunk, of the three finer ones the mask so far.

    Args:
        width: c: trunk, structure and finest structure have 4c, 2c and c channels.
    """

    def __init__(self, width: int):
        super().__init__()
        self.by_trunk = nn.ModuleList(Union(4 * width, 2 * width) for _ in range(3))
        self.by_mask = nn.ModuleList(Union(2 * width, 2 * width) for _ in range(2))
        self.by_mask.append(Union(2 * width, width))
        self.convs = nn.ModuleList(conv_norm_act(2 * width, 2 * width) for _ in range(4))
        self.convs.append(conv_norm_act(width, width))
        self.reduce = conv_norm_act(2 * width, width)

    def forward(self, trunk: Sequence[Tensor], structure: Sequence[Tensor]) -> Tensor:
        """Returns features of the mask, [B, c, H, W], of three and six maps."""
        levels = zip(self.by_trunk, trunk, structure[:3], strict=True)
        x, *united = [union(*maps) for union, *maps in levels]
        for conv, level in zip(self.convs[:2], united, strict=True):
            x = conv(resize(x, level) + level)
        levels = zip(self.convs[2:-1], self.by_mask[:-1], structure[3:-1], strict=True)
        for conv, union, level in levels:
            x = resize(x, level)
            x = conv(x + union(x, level))
        x = resize(x, structure[-1])
        return self.convs[-1](self.reduce(x) + self.by_mask[-1](x, structure[-1]))


class UDUNetwork(BaseModule):
    """Encoder at two sizes, decoders of trunk and structure, and their union.

    `forward(): high and low maps -> trunk -> low maps without trunk -> structure -> mask`

    Args:
        backbone: Config of mmseg's `ResNet`.
        width: c: maps are reduced to c, 2c or 4c channels; 16 in all released models.
    """

    def __init__(self, backbone: dict, width: int):
        super().__init__(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in'))
        self.backbone = MODELS.build(backbone)
        channels = five_widths(self.backbone)
        self.high = nn.ModuleList(
            reduce(before, factor * width)
            for before, factor in zip((3, *channels), (1, 2, 2, 4, 4, 4), strict=True)
        )
        self.low = nn.ModuleList(
            reduce(before, factor * width)
            for before, factor in zip(channels, (2, 2, 2, 4, 4), strict=True)
        )
        self.trunk = TrunkDecoder(4 * width)
        self.trunk_in_structure = nn.ModuleList(
            conv_norm_act(4 * width, 2 * width, 1) for _ in range(3)
        )
        self.structure = StructureDecoder(width)
        self.union = UnionDecoder(width)
        self.trunk_output = nn.Conv2d(4 * width, 1, 3, padding=1)
        self.structure_output = nn.Conv2d(width, 1, 3, padding=1)
        self.mask_output = nn.Sequential(
            *conv_norm_act(width, width), nn.Conv2d(width, 1, 3, padding=1)
        )

    def forward(self, images: Tensor) -> UDUNOutputs:
        """Returns the logits of images [B, 3, H, W]."""
        # 1. maps of the image, at 1 to 1/32, and of a quarter of its sides, at 1/8 to 1/128
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, SIZE_DIVISOR)
        quarter = [side // 4 for side in images.shape[-2:]]
        small = F.interpolate(images, quarter, mode='bilinear', align_corners=True)
        high = [images, *five_maps(self.backbone, images)]
        high = [conv(x) for conv, x in zip(self.high, high, strict=True)]
        low = five_maps(self.backbone, small)
        low = [conv(x) for conv, x in zip(self.low, low, strict=True)]

        # 2. the trunk, at 1/32, 1/16 and 1/8, is subtracted from the low maps
        trunk = self.trunk([low[4], low[3], high[5], high[4], high[3]])
        parts = zip((low[2], low[1], low[0]), self.trunk_in_structure, trunk, strict=True)
        rest = [x - conv(part) for x, conv, part in parts]

        # 3. structure and union, at 1/32 to 1
        structure = self.structure([*rest, high[2], high[1], high[0]])
        mask = self.mask_output(self.union(trunk, structure))
        return UDUNOutputs(
            self.trunk_output(trunk[-1]),
            self.structure_output(structure[-1])[..., :height, :width],
            mask[..., :height, :width],
        )
