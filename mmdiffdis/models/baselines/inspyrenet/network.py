"""Network of InSPyReNet: a coarse saliency map, and Laplacian maps that refine it to the pixel.

Written from the paper; the names of layers are those of the released weights
(https://github.com/plemeri/InSPyReNet, MIT).
"""

from collections.abc import Sequence
from functools import reduce as fold
from typing import NamedTuple

import cv2
import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv, pad_to_multiple
from ..layers.precision import without_autocast
from ..layers.pyramid import expand
from ..layers.swin import five_maps, five_widths

# of an image's sides, so that the five maps have exact fractions of them
SIZE_DIVISOR = 32
# sides of the ellipses in which `blend` looks for borders, for the maps that refine d1, d2, d3
TRANSITIONS = (17, 9, 5)


class Pyramid(NamedTuple):
    """Pyramid of an image [B, 3, H, W]; lists are from the finest level to the coarsest.

    Attributes:
        saliency: Logits, [B, 1, h, w] at 1, 1/2, 1/4, 1/8: d0 to d3.
        laplacian: What is added to an expanded level, [B, 1, h, w] at 1, 1/2, 1/4: p0 to p2.
    """

    saliency: list[Tensor]
    laplacian: list[Tensor]


class InSPyReNetOutputs(NamedTuple):
    """Outputs of the network.

    Attributes:
        logits: [B, 1, H, W].
        pyramid: Pyramid of the padded images.
    """

    logits: Tensor
    pyramid: Pyramid


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Returns [B, C, *size], bilinear."""
    return F.interpolate(x, tuple(size), mode='bilinear')


class AxialAttention(nn.Module):
    """Self-attention along one axis of a map.

    As in the release, a map is read as rows of the axis' length. If it is square, these are its own
    rows for either axis; if it is not, those of the vertical axis begin anywhere in a row.

    Args:
        channels: C, width of the map.
        axis: Axis of [B, C, h, w] whose length the rows have, -2 or -1.
    """

    def __init__(self, channels: int, axis: int):
        super().__init__()
        self.axis = axis
        self.query_conv = conv(channels, channels // 8, 1)
        self.key_conv = conv(channels, channels // 8, 1)
        self.value_conv = conv(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        query, key, value = (
            layer(x).flatten(1).unflatten(1, (-1, x.shape[self.axis]))  # [B, N, length]
            for layer in (self.query_conv, self.key_conv, self.value_conv)
        )
        attention = (query.transpose(1, 2) @ key).softmax(dim=-1)
        attended = value @ attention.transpose(1, 2)
        return self.gamma * attended.reshape(x.shape) + x


class ContextBranch(nn.Module):
    """Branch of a `ContextBlock` with one receptive field.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        reach: Length of the separated kernel, and dilation of the last convolution.
    """

    def __init__(self, in_channels: int, channels: int, reach: int):
        super().__init__()
        self.conv0 = conv(in_channels, channels, 1)
        self.conv1 = conv(channels, channels, (1, reach))
        self.conv2 = conv(channels, channels, (reach, 1))
        self.conv3 = conv(channels, channels, 3, dilation=reach)
        self.Hattn = AxialAttention(channels, axis=-2)
        self.Wattn = AxialAttention(channels, axis=-1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, h, w] -> [B, channels, h, w]."""
        x = self.conv2(self.conv1(self.conv0(x)))
        return self.conv3(self.Hattn(x) + self.Wattn(x))


class ContextBlock(nn.Module):
    """Parallel axial attention: four branches of growing receptive fields (PAA-e of UACANet).

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.branch0 = conv(in_channels, channels, 1)
        self.branch1 = ContextBranch(in_channels, channels, 3)
        self.branch2 = ContextBranch(in_channels, channels, 5)
        self.branch3 = ContextBranch(in_channels, channels, 7)
        self.conv_cat = conv(4 * channels, channels)
        self.conv_res = conv(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, h, w] -> [B, channels, h, w]."""
        branches = (self.branch0, self.branch1, self.branch2, self.branch3)
        context = self.conv_cat(torch.cat([branch(x) for branch in branches], dim=1))
        return F.relu(context + self.conv_res(x))


class CoarseDecoder(nn.Module):
    """Decoder of the three coarse context maps (PAA-d of UACANet).

    Args:
        channels: Channels of each map and of the output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = conv(3 * channels, channels)
        self.Hattn = AxialAttention(channels, axis=-2)
        self.Wattn = AxialAttention(channels, axis=-1)
        self.conv2 = conv(channels, channels)
        self.conv3 = conv(channels, channels)
        self.conv4 = conv(channels, channels)
        self.conv5 = conv(channels, 1, norm=False)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns features [B, channels, h, w] and logits [B, 1, h, w] of the first map's size."""
        size = maps[0].shape[-2:]
        maps = [F.interpolate(x, size, mode='bilinear', align_corners=True) for x in maps[::-1]]
        x = self.conv1(torch.cat(maps, dim=1))
        x = self.conv4(self.conv3(self.conv2(self.Hattn(x) + self.Wattn(x))))
        return x, self.conv5(x)


class ScaleInvariantContextAttention(nn.Module):
    """Attention of each pixel to the regions of a coarser prediction (the paper's SICA).

    Regions are foreground, background and doubt of the saliency and, at the two finer levels,
    positive and negative parts of the Laplacian. Each has a context, the sum of the features
    weighted by the region, at a fixed size, so that it does not depend on the size of the image.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        context_size: Size (h, w) at which contexts are summed.
        laplacian: Whether there is a coarser Laplacian map.
    """

    def __init__(
        self, in_channels: int, channels: int, context_size: Sequence[int], laplacian: bool
    ):
        super().__init__()
        self.context_size = context_size
        self.conv_query, self.conv_key, self.conv_value = (
            nn.Sequential(
                conv(in_channels, channels, side, relu=True),
                conv(channels, channels, side, relu=True),
            )
            for side in (3, 1, 1)
        )
        self.conv_out1 = conv(channels, channels, relu=True)
        self.conv_out2 = conv(in_channels + channels, channels, relu=True)
        self.conv_out3 = conv(channels, channels, relu=True)
        self.conv_out4 = conv(channels, 1, 1)
        self.threshold = nn.Parameter(torch.tensor([0.5]))
        if laplacian:
            self.lthreshold = nn.Parameter(torch.tensor([0.5]))

    def forward(
        self, x: Tensor, saliency: Tensor, laplacian: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns features [B, channels, h, w] and a Laplacian map [B, 1, h, w].

        Args:
            x: Features, [B, in_channels, h, w].
            saliency: Logits of the coarser level, of any size.
            laplacian: Laplacian map of the coarser level, of any size.
        """
        size = x.shape[-2:]
        difference = resize(saliency, size).sigmoid() - self.threshold
        regions = [
            difference.clamp(0, 1),
            (-difference).clamp(0, 1),
            self.threshold - difference.abs(),
        ]
        if laplacian is not None:
            difference = resize(laplacian, size).sigmoid() - self.lthreshold
            regions += [difference.clamp(0, 1), (-difference).clamp(0, 1)]
        key, value = self._contexts(x, torch.cat(regions, dim=1))
        query = self.conv_query(x).flatten(2).transpose(1, 2)
        # one head: torch.onnx does not export attention without heads
        heads = (matrix.to(query.dtype)[:, None] for matrix in (query, key, value))
        attended = F.scaled_dot_product_attention(*heads)[:, 0]  # [B, hw, C]
        attended = self.conv_out1(attended.transpose(1, 2).unflatten(2, size))
        x = self.conv_out3(self.conv_out2(torch.cat([x, attended], dim=1)))
        return x, self.conv_out4(x)

    def _contexts(self, x: Tensor, regions: Tensor) -> list[Tensor]:
        """Returns keys and values of R regions [B, R, h, w] of features, [B, R, channels]."""
        with without_autocast(x):  # sums over a million pixels are too large for half precision
            regions, features = (resize(part.float(), self.context_size) for part in (regions, x))
            # The release reads [B, C, N] as [B, N, C] without a transposition, and weights depend
            # on it.
            features = features.flatten(1).unflatten(1, (-1, x.shape[1]))
            contexts = (regions.flatten(2) @ features).transpose(1, 2)[..., None]  # [B, C, R, 1]
            contexts = contexts.to(self.threshold.dtype)
            layers = (self.conv_key, self.conv_value)
            return [layer(contexts).flatten(2).transpose(1, 2) for layer in layers]


class InSPyReNetwork(BaseModule):
    """Backbone, coarse decoder, and three levels that each add a Laplacian map.

    `pyramid(): backbone -> contexts -> d3 -> p2, d2 -> p1, d1 -> p0, d0`

    Args:
        backbone: Config of a backbone with `five_maps`: mmseg's `SwinTransformer`, or `Res2Net`.
        channels: Width of the decoder; 64 in all released models.
        base_size: Size (H, W) of the training images. Released weights depend on it, see
            `ScaleInvariantContextAttention`.

    Raises:
        ValueError: If `base_size` has a side that is no multiple of `SIZE_DIVISOR`.
    """

    def __init__(self, backbone: dict, channels: int, base_size: Sequence[int]):
        super().__init__()
        if any(side % SIZE_DIVISOR for side in base_size):
            raise ValueError(
                f'base_size={tuple(base_size)}: expected multiples of {SIZE_DIVISOR}, such as '
                '(1024, 1024)'
            )
        self.base_size = tuple(base_size)
        self.backbone = MODELS.build(backbone)
        for i, width in enumerate(five_widths(self.backbone), start=1):
            self.add_module(f'context{i}', ContextBlock(width, channels))
        self.decoder = CoarseDecoder(channels)
        for level, width in enumerate((channels, 2 * channels, 2 * channels)):
            attention = ScaleInvariantContextAttention(
                width, channels, [side // 2**level for side in base_size], laplacian=level < 2
            )
            self.add_module(f'attention{level}', attention)

    def forward(self, images: Tensor, blend_above: int | None = None) -> InSPyReNetOutputs:
        """Returns the logits and the pyramid of images.

        Args:
            images: [B, 3, H, W].
            blend_above: Bound of the shorter side, in pixels. Images above it are seen twice, at
                `base_size` and as they are, and both pyramids are blended; others are seen at
                `base_size` alone, and so are their logits. None: as they are.
        """
        blends = blend_above is not None and min(images.shape[-2:]) > blend_above
        if blend_above is not None and not blends:
            images = self._at_base_size(images)
        height, width = images.shape[-2:]
        images = pad_to_multiple(images, SIZE_DIVISOR)
        pyramid = self.pyramid(images)
        if blends:
            pyramid = blend(self.pyramid(self._at_base_size(images)).saliency[0], pyramid)
        return InSPyReNetOutputs(pyramid.saliency[0][..., :height, :width], pyramid)

    def _at_base_size(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.base_size, mode='bilinear', antialias=True)

    def pyramid(self, images: Tensor) -> Pyramid:
        """Returns the pyramid of images [B, 3, H, W] whose sides are multiples of `SIZE_DIVISOR`.

        No gradient flows from a level to the saliency of the coarser one.
        """
        height, width = images.shape[-2:]
        x1, x2, *coarse = self.contexts(images)
        x, d3 = self.decoder(coarse)

        x = torch.cat([x2, resize(x, (height // 4, width // 4))], dim=1)
        x, p2 = self.attention2(x, d3.detach())
        d2 = expand(d3.detach()) + p2

        half = (height // 2, width // 2)
        x = torch.cat([resize(x1, half), resize(x, half)], dim=1)
        x, p1 = self.attention1(x, d2.detach(), p2.detach())
        d1 = expand(d2.detach()) + p1

        _, p0 = self.attention0(resize(x, (height, width)), d1.detach(), p1.detach())
        d0 = expand(d1.detach()) + p0
        return Pyramid([d0, d1, d2, d3], [p0, p1, p2])

    def contexts(self, images: Tensor) -> list[Tensor]:
        """Returns the context maps at 1/4, 1/4, 1/8, 1/16, 1/32, [B, channels, h, w]."""
        blocks = (self.context1, self.context2, self.context3, self.context4, self.context5)
        maps = five_maps(self.backbone, images)
        return [block(x) for block, x in zip(blocks, maps, strict=True)]


def blend(coarse: Tensor, fine: Pyramid) -> Pyramid:
    """Returns a pyramid that begins with one prediction and takes the details of another.

    The Laplacian maps of the larger image are added near the borders of the coarser level alone,
    because far from them a network that sees a large image in full may be wrong.

    Args:
        coarse: Logits of the smaller image, [B, 1, h, w].
        fine: Pyramid of the larger image.
    """
    saliency = [resize(coarse, fine.saliency[-1].shape[-2:])]
    laplacian = []
    for side, details in zip(TRANSITIONS[::-1], fine.laplacian[::-1], strict=True):
        border = resize(transition(saliency[0], side), details.shape[-2:])
        laplacian.insert(0, border * details)
        saliency.insert(0, expand(saliency[0]) + laplacian[0])
    return Pyramid(saliency, laplacian)


def transition(logits: Tensor, side: int) -> Tensor:
    """Returns where probabilities differ by more than a half within an ellipse, 0 or 1.

    Args:
        logits: [B, 1, h, w].
        side: Side of the ellipse, in pixels.
    """
    probability = logits.sigmoid()
    difference = _dilate(probability, side) + _dilate(-probability, side)
    return (difference > 0.5).to(logits.dtype)


def _dilate(x: Tensor, side: int) -> Tensor:
    """Returns the maximum in OpenCV's ellipse around each pixel.

    Its rows are pooled one by one: PyTorch pools rectangles alone.
    """
    rows = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).sum(axis=1).tolist()
    height = x.shape[-2]
    padded = F.pad(x, (0, 0, side // 2, side // 2), value=-torch.inf)
    pooled = (
        F.max_pool2d(padded[:, :, i : i + height], (1, row), stride=1, padding=(0, row // 2))
        for i, row in enumerate(rows)
    )
    return fold(torch.maximum, pooled)
