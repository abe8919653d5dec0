"""MVANet: Yu et al., Multi-view Aggregation Network for Dichotomous Image Segmentation, CVPR 2024.

An image is seen in five views: its four quadrants, near, and all of it, at half its size, far. The
shapes below are of B images: 4B quadrants (all top left ones, all top right ones, ...), then B
overviews; 5B together.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from mmseg.models.backbones import SwinTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .base import DISBaseline
from .layers.swin import SWIN_PREFIXES, to_mmseg_order, to_published_order

# Of an image's sides: quadrants at 1/32 have quadrants of their own.
SIZE_DIVISOR = 128


class MVANetOutputs(NamedTuple):
    """What the network makes; lists are from the finest level to the coarsest.

    Attributes:
        logits: [B, 1, H, W].
        near: logits of the quadrants, joined, at 1/4, 1/4, 1/8, 1/16, 1/32.
        far: logits of the overviews, at 1/8, 1/8, 1/16, 1/32, 1/64.
        attention: probabilities by which quadrants are weighted, at 1/4, 1/4, 1/8, 1/16.
    """

    logits: Tensor
    near: list[Tensor]
    far: list[Tensor]
    attention: list[Tensor]


def pad(images: Tensor) -> Tensor:
    """Images or masks with their last rows and columns repeated up to sides that can be split."""
    height, width = images.shape[-2:]
    missing = (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR)
    return F.pad(images, missing, mode='replicate')


def split(images: Tensor) -> Tensor:
    """The quadrants of images, [B, C, 2h, 2w] -> [4B, C, h, w]."""
    return torch.cat([half for rows in images.chunk(2, 2) for half in rows.chunk(2, 3)])


def join(quadrants: Tensor) -> Tensor:
    """The inverse of :func:`split`."""
    top_left, top_right, bottom_left, bottom_right = quadrants.chunk(4)
    top, bottom = torch.cat([top_left, top_right], 3), torch.cat([bottom_left, bottom_right], 3)
    return torch.cat([top, bottom], 2)


def views(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quadrants and overviews of [5B, ...]: [4B, ...] and [B, ...]."""
    overviews = len(x) // 5
    return x[:-overviews], x[-overviews:]


def to_tokens(maps: Tensor) -> Tensor:
    """[N, C, h, w] -> [N, hw, C]."""
    return maps.flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """The inverse of :func:`to_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def resize(maps: Tensor, like: Tensor) -> Tensor:
    """The maps at the size of others, bilinear."""
    return F.interpolate(maps, like.shape[-2:], mode='bilinear')


def pool(maps: Tensor, size: Sequence[int], ratios: Sequence[int]) -> list[Tensor]:
    """Means of the maps' cells, in as many as 1 / ratio of `size`, [N, C, h / ratio, w / ratio]."""
    cells = [[max(1, round(side / ratio)) for side in size] for ratio in ratios]
    return [F.adaptive_avg_pool2d(maps, numbers) for numbers in cells]


def positions(maps: Tensor) -> Tensor:
    """Sines and cosines of where the tokens of maps are, rows first, [1, hw, C]."""
    channels, *size = maps.shape[1:]
    pairs = torch.arange(channels // 4, device=maps.device)
    periods = 10000 ** (4 * pairs / channels)
    codes = []
    for side in size:
        place = (torch.arange(side, device=maps.device) + 0.5) / (side + 1e-6) * 2 * torch.pi
        angles = place[:, None] / periods
        codes.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1))  # [side, C / 2]
    rows, columns = codes
    height, width = size
    grid = torch.cat(
        [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=2
    )
    return grid.flatten(0, 1)[None].to(maps.dtype)


class FeedForward(nn.Sequential):
    """Two layers; what they make is added and normalised by whoever owns the norm."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Linear(channels, 2 * channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Linear(2 * channels, channels),
            nn.Dropout(0.1),
        )


class CrossAttention(nn.MultiheadAttention):
    """One head, of tokens [N, n, C] to others, [N, m, C]."""

    def __init__(self, channels: int):
        super().__init__(channels, num_heads=1, dropout=0.1, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[N, n, C]."""
        return super().forward(query, key, value, need_weights=False)[0]


class Localisation(nn.Module):
    """The overview learns from the quadrants, then they from it (the paper's MCLM).

    ``forward(): overview, to the quadrants pooled at three sizes -> feed-forward;
    each quadrant, to its part of the overview -> feed-forward``

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.overview_attention = CrossAttention(channels)
        self.quadrant_attentions = nn.ModuleList(CrossAttention(channels) for _ in range(4))
        self.overview_feed_forward = FeedForward(channels)
        self.quadrant_feed_forward = FeedForward(channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """[5B, C, h, w] of the same."""
        quadrants, overview = views(x)
        size = x.shape[-2:]

        pools = pool(join(quadrants), size, (1, 4, 8))
        near = torch.cat([to_tokens(maps) for maps in pools], dim=1)
        where = torch.cat([positions(maps) for maps in pools], dim=1)
        far = to_tokens(overview)
        attended = self.overview_attention(far + positions(overview), near + where, near)
        far = self.attention_norm(far + self.dropout(attended))
        far = self.feed_forward_norm(far + self.overview_feed_forward(far))

        overview = to_maps(far, size)
        tokens = to_tokens(quadrants)
        pairs = zip(tokens.chunk(4), to_tokens(split(overview)).chunk(4), strict=True)
        attended = [
            attention(near, far, far)
            for attention, (near, far) in zip(self.quadrant_attentions, pairs, strict=True)
        ]
        tokens = self.attention_norm(tokens + self.dropout(torch.cat(attended)))
        tokens = self.feed_forward_norm(tokens + self.quadrant_feed_forward(tokens))
        return torch.cat([to_maps(tokens, size), overview])


class Refinement(nn.Module):
    """The quadrants, weighted by the overview, learn from its parts; then it from them (MCRM).

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.salience = nn.Conv2d(channels, 1, 1)
        self.attentions = nn.ModuleList(CrossAttention(channels) for _ in range(4))
        self.feed_forward = FeedForward(channels)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[5B, C, h, w] of the same, and the weights [B, 1, 2h, 2w] of the quadrants."""
        quadrants, overview = views(x)
        size = x.shape[-2:]
        whole = [2 * side for side in size]
        weight = F.interpolate(self.salience(overview).sigmoid(), whole, mode='nearest')

        tokens = to_tokens(quadrants * split(weight))
        pools = pool(split(overview), size, (2, 4, 8))
        far = torch.cat([to_tokens(maps) for maps in pools], dim=1)
        attended = [
            attention(quadrant, part, part)
            for attention, quadrant, part in zip(
                self.attentions, tokens.chunk(4), far.chunk(4), strict=True
            )
        ]
        tokens = self.attention_norm(tokens + self.dropout(torch.cat(attended)))
        tokens = self.feed_forward_norm(tokens + self.feed_forward(tokens))

        quadrants = to_maps(tokens, size)
        overview = overview + F.interpolate(join(quadrants), size, mode='nearest')
        return torch.cat([quadrants, overview]), weight


def conv(in_channels: int, out_channels: int, activation: type[nn.Module]) -> nn.Sequential:
    """3x3 convolution, batch norm and activation."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        activation(),
    )


class MVANetwork(nn.Module):
    """The five views through one backbone, and level by level together again.

    ``forward(): views -> backbone -> laterals -> localisation -> 4x (refinement, convolution)
    -> quadrants and overview joined -> head -> twice enlarged, with the image's own details``

    Args:
        backbone: config of mmseg's SwinTransformer.
        channels: C, width of the decoder.
        head_channels: of the head's inner layers.
    """

    def __init__(self, backbone: dict, channels: int, head_channels: int):
        super().__init__()
        self.backbone: SwinTransformer = MODELS.build(backbone)
        widths = self.backbone.num_features
        self.laterals = nn.ModuleList(
            conv(width, channels, nn.PReLU) for width in (widths[0], *widths)
        )
        self.localisation = Localisation(channels)
        self.refinements = nn.ModuleList(Refinement(channels) for _ in widths)
        self.convs = nn.ModuleList(conv(channels, channels, nn.PReLU) for _ in widths)
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in self.laterals)
        self.head = nn.Sequential(
            *conv(channels, head_channels, nn.PReLU),
            *conv(head_channels, head_channels, nn.PReLU),
            nn.Conv2d(head_channels, channels, 3, padding=1),
        )
        self.details = nn.Conv2d(3, channels, 3, padding=1)
        self.enlarge_first = conv(channels, channels, nn.GELU)
        self.enlarge_second = conv(channels, channels, nn.GELU)
        self.output = nn.Conv2d(channels, 1, 3, padding=1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The embedded patches and the backbone's four maps, at 1/4, 1/4, 1/8, 1/16, 1/32."""
        tokens, size = self.backbone.patch_embed(x)
        # embedded twice, of which the backbone keeps one to itself: a thousandth of the work
        return [to_maps(tokens, size), *self.backbone(x)]

    def forward(self, images: Tensor) -> MVANetOutputs:
        """Logits and side outputs of images [B, 3, H, W], the latter's sides as of :func:`pad`."""
        height, width = images.shape[-2:]
        images = pad(images)
        small = F.interpolate(images, scale_factor=0.5, mode='bilinear')
        features = self.encode(torch.cat([split(images), small]))
        *laterals, coarsest = [
            lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)
        ]

        x = self.localisation(coarsest)
        side_near, _ = views(self.sides[-1](x))
        # the overview's side output comes before the localisation
        near, far, weights = [join(side_near)], [self.sides[-1](views(coarsest)[1])], []
        for level in reversed(range(len(laterals))):
            x, weight = self.refinements[level](laterals[level] + resize(x, laterals[level]))
            x = self.convs[level](x)
            quadrants, overview = views(self.sides[level](x))
            near.insert(0, join(quadrants))
            far.insert(0, overview)
            weights.insert(0, weight)

        quadrants, overview = views(x)
        x = join(quadrants)
        x = self.head(x + resize(overview, x))
        details = self.details(images)
        x = self.enlarge_first(F.interpolate(x + resize(details, x), scale_factor=2))
        x = self.enlarge_second(F.interpolate(x + resize(details, x), scale_factor=2))
        logits = self.output(x)[..., :height, :width]
        return MVANetOutputs(logits, near, far, weights)


def structure_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy and IoU, pixels weighted by how their neighbourhood differs from them.

    Source: Wei et al., F3Net, AAAI 2020.

    Args:
        logits: [B, 1, h, w].
        truth: [B, 1, H, W] in [0, 1], brought to the logits' size by its nearest pixels.
    """
    truth = F.interpolate(truth, logits.shape[-2:], mode='nearest')
    weight = 1 + 5 * (F.avg_pool2d(truth, 31, stride=1, padding=15) - truth).abs()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    probability = logits.sigmoid()
    pixels = (1, 2, 3)
    entropy = (weight * entropy).sum(pixels) / weight.sum(pixels)
    both = (weight * probability * truth).sum(pixels)
    either = (weight * (probability + truth)).sum(pixels) - both
    return (entropy + 1 - (both + 1) / (either + 1)).mean()


@MODELS.register_module()
class MVANet(DISBaseline):
    """Multi-view aggregation network.

    Args:
        backbone: config of mmseg's SwinTransformer.
        channels: width of the decoder.
        head_channels: of the head's inner layers.
        **kwargs: of :class:`DISBaseline`.
    """

    PUBLISHED_PREFIXES: ClassVar[dict[str, str]] = {
        **{f'backbone.{t}': f'network.backbone.{o}' for t, o in SWIN_PREFIXES.items()},
        **{
            theirs: f'network.{ours}'
            for i in range(5)
            for theirs, ours in {
                f'output{i + 1}.': f'laterals.{i}.',
                f'sideout{i + 1}.0.': f'sides.{i}.',
                f'conv{i + 1}.': f'convs.{i}.',
                f'dec_blk{i + 1}.sal_conv.': f'refinements.{i}.salience.',
                f'dec_blk{i + 1}.attention.': f'refinements.{i}.attentions.',
                f'dec_blk{i + 1}.linear3.': f'refinements.{i}.feed_forward.0.',
                f'dec_blk{i + 1}.linear4.': f'refinements.{i}.feed_forward.3.',
                f'dec_blk{i + 1}.norm1.': f'refinements.{i}.attention_norm.',
                f'dec_blk{i + 1}.norm2.': f'refinements.{i}.feed_forward_norm.',
            }.items()
        },
        'multifieldcrossatt.attention.0.': 'network.localisation.overview_attention.',
        **{
            f'multifieldcrossatt.attention.{i + 1}.': f'network.localisation.{ours}.'
            for i, ours in enumerate(f'quadrant_attentions.{i}' for i in range(4))
        },
        'multifieldcrossatt.linear5.': 'network.localisation.overview_feed_forward.0.',
        'multifieldcrossatt.linear6.': 'network.localisation.overview_feed_forward.3.',
        'multifieldcrossatt.linear3.': 'network.localisation.quadrant_feed_forward.0.',
        'multifieldcrossatt.linear4.': 'network.localisation.quadrant_feed_forward.3.',
        'multifieldcrossatt.norm1.': 'network.localisation.attention_norm.',
        'multifieldcrossatt.norm2.': 'network.localisation.feed_forward_norm.',
        'insmask_head.': 'network.head.',
        'shallow.0.': 'network.details.',
        'upsample1.': 'network.enlarge_first.',
        'upsample2.': 'network.enlarge_second.',
        'output.0.': 'network.output.',
        '': 'network.',
    }

    def __init__(self, backbone: dict, channels: int = 128, head_channels: int = 384, **kwargs):
        super().__init__(MVANetwork(backbone, channels, head_channels), **kwargs)

    def losses(self, outputs: MVANetOutputs, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """'loss_mask', 'loss_near', 'loss_far' and 'loss_attention', structure losses.

        The attention goes into its loss as if it were logits, as in the release.
        """
        padded = pad(truths['mask'])
        near, far, attention = (
            sum(structure_loss(of_level, padded) for of_level in maps)
            for maps in (outputs.near, outputs.far, outputs.attention)
        )
        return dict(
            loss_mask=structure_loss(outputs.logits, truths['mask']),
            loss_near=near,
            loss_far=0.3 * far,
            loss_attention=0.3 * attention,
        )

    def probability(self, outputs: MVANetOutputs) -> Tensor:
        """Foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.logits.sigmoid()

    def from_published(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under our names, in mmseg's order of merged patches."""
        return to_mmseg_order(super().from_published(weights))

    def to_published(self) -> dict[str, Tensor]:
        """The inverse of :meth:`from_published`."""
        return to_published_order(super().to_published())
