"""Network of MVANet.

An image is seen in five views: its four quadrants (near), and the whole image at half its size
(far). The shapes below are of B images: 4B quadrants (all top left ones, all top right ones, ...),
then B overviews; 5B together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmseg.models.backbones import SwinTransformer
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act, pad_to_multiple, resize
from ..layers.swin import five_maps, five_widths, to_maps, to_tokens

# Builder of an activation, such as its class.
Activation = Callable[[], nn.Module]

# of an image's sides: its quadrants, at 1/32, have quadrants again
SIZE_DIVISOR = 128


class MVANetOutputs(NamedTuple):
    """Outputs of the network; lists are from the finest level to the coarsest.

    Attributes:
        logits: [B, 1, H, W].
        near: Logits of the quadrants, joined, at 1/4, 1/4, 1/8, 1/16, 1/32.
        far: Logits of the overviews, at 1/8, 1/8, 1/16, 1/32, 1/64.
        attention: Probabilities that weight the quadrants, at 1/4, 1/4, 1/8, 1/16.
    """

    logits: Tensor
    near: list[Tensor]
    far: list[Tensor]
    attention: list[Tensor]


def split(images: Tensor) -> Tensor:
    """Returns the quadrants of images, [B, C, 2h, 2w] -> [4B, C, h, w]."""
    return torch.cat([half for rows in images.chunk(2, 2) for half in rows.chunk(2, 3)])


def join(quadrants: Tensor) -> Tensor:
    """Returns the images of quadrants, the inverse of `split`."""
    top_left, top_right, bottom_left, bottom_right = quadrants.chunk(4)
    top, bottom = torch.cat([top_left, top_right], 3), torch.cat([bottom_left, bottom_right], 3)
    return torch.cat([top, bottom], 2)


def views(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns quadrants [4B, ...] and overviews [B, ...] of [5B, ...]."""
    overviews = len(x) // 5
    return x[:-overviews], x[-overviews:]


def pool(maps: Tensor, size: Sequence[int], ratios: Sequence[int]) -> list[Tensor]:
    """Returns the maps average-pooled to `size` / ratio for each ratio, at least to one pixel."""
    pooled_sizes = [[max(1, round(side / ratio)) for side in size] for ratio in ratios]
    return [F.adaptive_avg_pool2d(maps, pooled_size) for pooled_size in pooled_sizes]


def positions(maps: Tensor) -> Tensor:
    """Returns sine and cosine position codes of the maps' tokens, rows first, [1, hw, C]."""
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
    """Two-layer feed-forward network; the caller adds the residual and normalises.

    Args:
        channels: C, width of the tokens.
        act: Builder of the activation.
    """

    def __init__(self, channels: int, act: Activation):
        super().__init__(
            nn.Linear(channels, 2 * channels),
            act(),
            nn.Dropout(0.1),
            nn.Linear(2 * channels, channels),
            nn.Dropout(0.1),
        )


class CrossAttention(nn.MultiheadAttention):
    """Attention with one head of tokens [N, n, C] to others, [N, m, C].

    Args:
        channels: C, width of the tokens.
    """

    def __init__(self, channels: int):
        super().__init__(channels, num_heads=1, dropout=0.1, batch_first=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Returns the attended values, [N, n, C]."""
        return super().forward(query, key, value, need_weights=False)[0]


class Localisation(nn.Module):
    """Exchange between views at the coarsest level (the paper's MCLM).

    The overview attends to the quadrants, pooled at three sizes; then each quadrant attends to its
    part of the overview. Each attention is followed by a feed-forward network.

    Args:
        channels: C, width of the maps.
        act: Builder of the feed-forward networks' activation.
    """

    def __init__(self, channels: int, act: Activation):
        super().__init__()
        self.overview_attention = CrossAttention(channels)
        self.quadrant_attentions = nn.ModuleList(CrossAttention(channels) for _ in range(4))
        self.overview_feed_forward = FeedForward(channels, act)
        self.quadrant_feed_forward = FeedForward(channels, act)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """[5B, C, h, w] -> [5B, C, h, w]."""
        quadrants, overview = views(x)
        size = x.shape[-2:]

        # 1. the overview attends to the quadrants
        pools = pool(join(quadrants), size, (1, 4, 8))
        near = torch.cat([to_tokens(maps) for maps in pools], dim=1)
        near_positions = torch.cat([positions(maps) for maps in pools], dim=1)
        far = to_tokens(overview)
        attended = self.overview_attention(far + positions(overview), near + near_positions, near)
        far = self.attention_norm(far + self.dropout(attended))
        far = self.feed_forward_norm(far + self.overview_feed_forward(far))
        overview = to_maps(far, size)

        # 2. each quadrant attends to its part of the overview
        tokens = to_tokens(quadrants)
        parts = to_tokens(split(overview))
        attended = [
            attention(quadrant, part, part)
            for attention, quadrant, part in zip(
                self.quadrant_attentions, tokens.chunk(4), parts.chunk(4), strict=True
            )
        ]
        tokens = self.attention_norm(tokens + self.dropout(torch.cat(attended)))
        tokens = self.feed_forward_norm(tokens + self.quadrant_feed_forward(tokens))
        return torch.cat([to_maps(tokens, size), overview])


class Refinement(nn.Module):
    """Exchange between views at a decoder level (the paper's MCRM).

    The quadrants, weighted by the overview's salience, attend to the pooled parts of the overview;
    then they are added to the overview.

    Args:
        channels: C, width of the maps.
        act: Builder of the feed-forward networks' activation.
    """

    def __init__(self, channels: int, act: Activation):
        super().__init__()
        self.salience = nn.Conv2d(channels, 1, 1)
        self.attentions = nn.ModuleList(CrossAttention(channels) for _ in range(4))
        self.feed_forward = FeedForward(channels, act)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[5B, C, h, w] -> the same shape, and the weights [B, 1, 2h, 2w] of the quadrants."""
        quadrants, overview = views(x)
        size = x.shape[-2:]
        joined_size = [2 * side for side in size]
        weight = F.interpolate(self.salience(overview).sigmoid(), joined_size, mode='nearest')

        tokens = to_tokens(quadrants * split(weight))
        pools = pool(split(overview), size, (2, 4, 8))
        parts = torch.cat([to_tokens(maps) for maps in pools], dim=1)
        attended = [
            attention(quadrant, part, part)
            for attention, quadrant, part in zip(
                self.attentions, tokens.chunk(4), parts.chunk(4), strict=True
            )
        ]
        tokens = self.attention_norm(tokens + self.dropout(torch.cat(attended)))
        tokens = self.feed_forward_norm(tokens + self.feed_forward(tokens))

        quadrants = to_maps(tokens, size)
        overview = overview + F.interpolate(join(quadrants), size, mode='nearest')
        return torch.cat([quadrants, overview]), weight


class MVANetwork(BaseModule):
    """One backbone for all five views, and a decoder that exchanges between them at each level.

    `forward(): views -> backbone -> laterals -> localisation -> 4x (refinement, convolution)
    -> quadrants and overview joined -> head -> twice enlarged, with details of the image`

    Args:
        backbone: Config of mmseg's `SwinTransformer`.
        channels: C, width of the decoder.
        head_channels: Width of the head's inner layers.
        norm: Builder of the maps' normalisation of so many channels.
        act: Builder of the maps' activation.
        token_act: Builder of the tokens' activation.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int,
        head_channels: int,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        act: Activation = nn.PReLU,
        token_act: Activation = partial(nn.ReLU, inplace=True),  # noqa: B008
    ):
        super().__init__()
        block = partial(conv_norm_act, norm=norm, act=act)
        self.backbone: SwinTransformer = MODELS.build(backbone)
        widths = five_widths(self.backbone)
        levels = range(len(widths) - 1)
        self.laterals = nn.ModuleList(block(width, channels) for width in widths)
        self.localisation = Localisation(channels, token_act)
        self.refinements = nn.ModuleList(Refinement(channels, token_act) for _ in levels)
        self.convs = nn.ModuleList(block(channels, channels) for _ in levels)
        self.sides = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for _ in self.laterals)
        self.head = nn.Sequential(
            *block(channels, head_channels),
            *block(head_channels, head_channels),
            nn.Conv2d(head_channels, channels, 3, padding=1),
        )
        self.details = nn.Conv2d(3, channels, 3, padding=1)
        self.enlarge_first = block(channels, channels, act=nn.GELU)
        self.enlarge_second = block(channels, channels, act=nn.GELU)
        self.output = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, images: Tensor) -> MVANetOutputs:
        """Returns logits of images [B, 3, H, W], and side outputs of the padded images."""
        # 1. five views through the backbone, at 1/4, 1/4, 1/8, 1/16, 1/32 of a view
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, SIZE_DIVISOR)
        overview = F.interpolate(images, scale_factor=0.5, mode='bilinear')
        features = five_maps(self.backbone, torch.cat([split(images), overview]))
        *laterals, coarsest = [
            lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)
        ]

        # 2. localisation; the overview's side output is taken before it
        x = self.localisation(coarsest)
        side_near, _ = views(self.sides[-1](x))
        near, far, weights = [join(side_near)], [self.sides[-1](views(coarsest)[1])], []

        # 3. refinement, from level to level
        for level in reversed(range(len(laterals))):
            x, weight = self.refinements[level](laterals[level] + resize(x, laterals[level]))
            x = self.convs[level](x)
            quadrants, overview = views(self.sides[level](x))
            near.insert(0, join(quadrants))
            far.insert(0, overview)
            weights.insert(0, weight)

        # 4. one map again, enlarged to the size of the image
        quadrants, overview = views(x)
        x = join(quadrants)
        x = self.head(x + resize(overview, x))
        details = self.details(images)
        x = self.enlarge_first(F.interpolate(x + resize(details, x), scale_factor=2))
        x = self.enlarge_second(F.interpolate(x + resize(details, x), scale_factor=2))
        logits = self.output(x)[..., :height, :width]
        return MVANetOutputs(logits, near, far, weights)
