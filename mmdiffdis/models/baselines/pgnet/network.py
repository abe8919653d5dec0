"""Network of PGNet: a ResNet for the image, a Swin Transformer for a small copy, and a decoder.

The decoder starts from the Swin's maps (s1 to s4 below, from fine to coarse) and goes on with the
ResNet's (r2 to r5); where both meet, attention grafts one onto the other.
"""

from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmseg.models.backbones import SwinTransformer
from mmseg.models.backbones.swin import WindowMSA
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act, resize
from ..layers.resnet import five_widths
from ..layers.swin import to_maps, to_tokens


class PGNetOutputs(NamedTuple):
    """Logits.

    Attributes:
        mask: [B, 1, H, W].
        resnet: Mask of the ResNet's map alone, [B, 1, h, w] with h = w.
        swin: Mask of the Swin's map alone, [B, 1, h, w].
        attention: Pairs of pixels that both belong to the object, [B, 1, hw, hw].
    """

    mask: Tensor
    resnet: Tensor
    swin: Tensor
    attention: Tensor


def two_convs(in_channels: int, channels: int) -> nn.Sequential:
    """Returns two 3x3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(*conv_norm_act(in_channels, channels), *conv_norm_act(channels, channels))


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """Returns what Swin adds to the attention in shifted windows, 0 or -100.

    -100 separates pixels that are neighbours only because the map is shifted as a ring.

    Args:
        side: Height and width of the map, a multiple of `window`.
        window: Side of a window.
        shift: Pixels of the shift.

    Returns:
        [windows, window**2, window**2].
    """
    places, grid = torch.arange(side), (side // window, window)
    parts = (places >= side - window).int() + (places >= side - shift).int()
    parts = (3 * parts[:, None] + parts).unflatten(1, grid).unflatten(0, grid)
    parts = parts.transpose(1, 2).flatten(2).flatten(0, 1)
    return -100.0 * (parts[:, None] != parts[:, :, None])


class StoredMaskMSA(WindowMSA):
    """Attention in shifted windows with the mask of one size of images as a buffer.

    mmseg computes the mask from the size of the image; the released weights of PGNet contain it.

    Args:
        attention: Attention that it replaces.
        mask: Mask as of `shift_mask`.
    """

    def __init__(self, attention: WindowMSA, mask: Tensor):
        super().__init__(attention.embed_dims, attention.num_heads, attention.window_size)
        self.register_buffer('mask', mask)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the attended tokens of windows; ignores `mask`."""
        return super().forward(x, self.mask)


def store_masks(swin: SwinTransformer, size: int) -> None:
    """Replaces the attention in shifted windows by `StoredMaskMSA`, for images of one size.

    Raises:
        ValueError: If the maps of such images cannot be divided into windows.
    """
    for level, stage in enumerate(swin.stages):
        side, remainder = divmod(size, 4 * 2**level)
        for block in stage.blocks:
            window, shift = block.attn.window_size, block.attn.shift_size
            if remainder or side % window:
                raise ValueError(
                    f'swin_size={size}: expected a multiple of '
                    f'{4 * 2 ** (len(swin.stages) - 1) * window}, for windows of {window}'
                )
            if shift:
                mask = shift_mask(side, window, shift)
                block.attn.w_msa = StoredMaskMSA(block.attn.w_msa, mask)


def stage_maps(swin: SwinTransformer, images: Tensor) -> list[Tensor]:
    """Returns the embedded patches and the maps that each stage passes on, without norms."""
    tokens, size = swin.patch_embed(images)
    maps = [to_maps(tokens, size)]
    for stage in swin.stages:
        tokens, size, _, _ = stage(tokens, size)
        maps.append(to_maps(tokens, size))
    return maps


class Grafting(nn.Module):
    """Attention of the ResNet's map to itself, by the similarity of its pixels to the Swin's.

    Args:
        channels: C, width of both maps.
        num_heads: Heads of the attention.
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.resnet_norm = nn.LayerNorm(channels)
        self.swin_norm = nn.LayerNorm(channels)
        self.query_value = nn.Linear(channels, 2 * channels)
        self.key = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self.convs = two_convs(channels, channels)
        self.attention_convs = conv_norm_act(num_heads, num_heads)

    def forward(self, resnet: Tensor, swin: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the grafted map, [B, C, h, w], and the attention, [B, heads, hw, hw].

        Args:
            resnet: [B, C, h, w].
            swin: [B, C, h, w].
        """
        tokens = to_tokens(resnet)
        query, value = self.query_value(self.resnet_norm(tokens)).chunk(2, dim=-1)
        key = self.key(self.swin_norm(to_tokens(swin)))
        query, key, value = (
            x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        similarity = query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5
        attention = similarity.softmax(dim=-1)
        tokens = tokens + self.projection((attention @ value).transpose(1, 2).flatten(2))
        x = to_maps(tokens, resnet.shape[-2:])
        return self.convs(x) + x, self.attention_convs(attention + attention.transpose(-2, -1))


class Level(nn.Module):
    """Level of the decoder.

    Args:
        in_channels: Channels of the encoder's map.
        channels: C, width of the decoder.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.merge = two_convs(in_channels + channels, channels)
        self.refine = two_convs(channels, channels)

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Returns [B, C, h, w].

        Args:
            x: The encoder's map, [B, in_channels, h, w].
            coarse: The coarser level's map, [B, C, h', w'].
        """
        coarse = resize(coarse, x, align_corners=True)
        x = self.merge(torch.cat([x, coarse], dim=1)) + self.shortcut(coarse)
        return x + self.refine(x)


class PGNetwork(BaseModule):
    """Two encoders and a decoder.

    Args:
        resnet: Config of mmseg's `ResNet`.
        swin: Config of mmseg's `SwinTransformer` with three stages and without `out_indices`.
        swin_size: Height and width to which images are resized for it.
        channels: Width of the decoder.
        num_heads: Heads of the grafting.
    """

    def __init__(self, resnet: dict, swin: dict, swin_size: int, channels: int, num_heads: int):
        kaiming = dict(type='Kaiming', layer=['Conv2d', 'Linear'], mode='fan_in')
        super().__init__(init_cfg=kaiming)
        self.swin_size = swin_size
        self.resnet = MODELS.build(resnet)
        self.swin: SwinTransformer = MODELS.build(swin)
        store_masks(self.swin, swin_size)
        _, r2, r3, r4, r5 = five_widths(self.resnet)
        s1, s2, s3 = self.swin.num_features  # s4 has the shape of s3
        self.reduce_s4 = nn.Sequential(
            *conv_norm_act(s3, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.level_s3 = Level(s3, channels)
        self.reduce_s2 = conv_norm_act(s2, channels)
        self.reduce_r5 = conv_norm_act(r5, channels)
        self.grafting = Grafting(channels, num_heads)
        self.level_grafted = Level(channels, channels)
        self.reduce_s1 = conv_norm_act(s1, channels)
        self.reduce_r4 = conv_norm_act(r4, channels)
        self.sum_r4 = conv_norm_act(channels, channels)
        self.level_r4 = Level(channels, channels)
        self.level_r3 = Level(r3, channels)
        self.level_r2 = Level(r2, channels)
        self.output = nn.Conv2d(channels, 1, 3, padding=1)
        self.resnet_output = nn.Conv2d(channels, 1, 3, padding=1)
        self.swin_output = nn.Conv2d(channels, 1, 3, padding=1)
        self.attention_output = nn.Conv2d(num_heads, 1, 3, padding=1)

    def forward(self, images: Tensor) -> PGNetOutputs:
        """Returns the logits of images [B, 3, H, W]."""
        # 1. the image, at 1/4 to 1/32, and its copy of 224x224, at 56, 28, 14 and 14 pixels
        small = F.interpolate(
            images, (self.swin_size, self.swin_size), mode='bilinear', align_corners=True
        )
        r2, r3, r4, r5 = self.resnet(images)
        s1, s2, s3, s4 = stage_maps(self.swin, small)

        # 2. the Swin's coarser levels
        x = self.level_s3(s3, self.reduce_s4(s4))

        # 3. the ResNet's coarsest map, grafted
        resnet, swin = self.reduce_r5(resize(r5, s2, align_corners=True)), self.reduce_s2(s2)
        grafted, attention = self.grafting(resnet, swin)
        x = self.level_grafted(grafted, x)

        # 4. up with the ResNet's finer levels
        both = self.sum_r4(self.reduce_s1(resize(s1, r4, align_corners=True)) + self.reduce_r4(r4))
        x = self.level_r4(both, x)
        x = self.level_r2(r2, self.level_r3(r3, x))
        return PGNetOutputs(
            F.interpolate(self.output(x), images.shape[-2:], mode='bilinear'),
            self.resnet_output(resnet),
            self.swin_output(swin),
            self.attention_output(attention),
        )
