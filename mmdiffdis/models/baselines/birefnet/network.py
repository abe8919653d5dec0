"""Network of BiRefNet: encoder, localisation, and a decoder that refers to the image."""

from typing import Literal

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm_act
from ..layers.deformable_conv import ModulatedDeformConv2d

PatchOrder = Literal['channel-row-column', 'column-row-channel']
# orders of the dimensions 1 to 5 of patches [B, C, grid row, h, grid column, w]
PATCH_ORDERS = {'channel-row-column': (1, 2, 4, 3, 5), 'column-row-channel': (4, 2, 1, 3, 5)}


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns [B, C, *size], bilinear with aligned corners, as everywhere in BiRefNet."""
    return F.interpolate(x, size, mode='bilinear', align_corners=True)


def stack_patches(images: Tensor, size: tuple[int, int], grid: int, order: PatchOrder) -> Tensor:
    """Returns the images cut into `grid` x `grid` patches, stacked as channels.

    Args:
        images: [B, C, H, W]; resized unless H, W are `grid` times `size`.
        size: Size (h, w) of a patch.
        grid: Number of patches in a row and in a column.
        order: Order of the channels, outermost first, by image channel and by row and column of the
            patch. Weights released before November 2024 need 'column-row-channel'.

    Returns:
        [B, C * grid**2, h, w].
    """
    height, width = size
    images = resize(images, (grid * height, grid * width))
    patches = images.unflatten(3, (grid, width)).unflatten(2, (grid, height))  # [B, C, r, h, c, w]
    return patches.permute(0, *PATCH_ORDERS[order]).flatten(1, 3)


class DeformableASPP(nn.Module):
    """Atrous spatial pyramid pooling with deformable convolutions in place of dilated ones.

    Args:
        channels: Channels of input and output.
        kernel_sizes: Kernel sizes of the parallel convolutions. (The release has the 1x1 twice.)
    """

    def __init__(self, channels: int, kernel_sizes: tuple[int, ...] = (1, 1, 3, 7)):
        super().__init__()
        width = 4 * channels
        self.branches = nn.ModuleList(
            nn.Sequential(
                ModulatedDeformConv2d(channels, width, size),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for size in kernel_sizes
        )
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *conv_norm_act(channels, width, 1, bias=False)
        )
        self.fuse = nn.Sequential(
            *conv_norm_act(width * (len(kernel_sizes) + 1), channels, 1, bias=False),
            nn.Dropout(0.5),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] -> [B, channels, h, w]."""
        pooled = self.pooled(x).expand(-1, -1, *x.shape[-2:])
        return self.fuse(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))


class ReconstructionBlock(nn.Module):
    """Bottleneck of a convolution, a deformable ASPP and another convolution.

    Args:
        in_channels: Channels of the input.
        width: Channels in between.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, width: int, out_channels: int):
        super().__init__()
        self.squeeze = conv_norm_act(in_channels, width)
        self.aspp = DeformableASPP(width)
        self.expand = nn.Sequential(
            nn.Conv2d(width, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, h, w] -> [B, out_channels, h, w]."""
        return self.expand(self.aspp(self.squeeze(x)))


class InwardReference(nn.Module):
    """The full-resolution image, as patches stacked to the size of a level.

    Args:
        grid: Number of patches in a row and in a column, the stride of the level.
        width: Channels in between.
        out_channels: Channels of the reference.
        order: Order of the patches' channels, see `stack_patches`.
    """

    def __init__(self, grid: int, width: int, out_channels: int, order: PatchOrder):
        super().__init__()
        self.grid = grid
        self.order = order
        self.convs = nn.Sequential(  # without an activation, as released
            nn.Conv2d(3 * grid**2, width, 3, padding=1),
            nn.Conv2d(width, out_channels, 3, padding=1),
        )

    def forward(self, x: Tensor, images: Tensor) -> Tensor:
        """Returns `x` [B, C, h, w] concatenated with the reference to `images`."""
        patches = stack_patches(images, x.shape[-2:], self.grid, self.order)
        return torch.cat([x, self.convs(patches)], dim=1)


class OutwardReference(nn.Module):
    """Attention to the image gradients that belong to the object.

    Args:
        channels: Channels of the features.
        width: Channels of the features from which gradient and attention are predicted.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.features = conv_norm_act(channels, width)
        self.gradient = nn.Conv2d(width, 1, 1)
        self.attention = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the attended `x` [B, C, h, w], and logits of the gradient, [B, 1, h, w]."""
        features = self.features(x)
        return x * self.attention(features).sigmoid(), self.gradient(features)


class BiRefBlock(nn.Module):
    """Level of the decoder: inward reference, reconstruction, outward reference.

    Args:
        in_channels: Channels from the coarser level.
        inward_channels: Channels of the inward reference.
        out_channels: Channels for the finer level.
        width: Channels inside the references and the reconstruction.
        stride: Stride of this level, in pixels of the image.
        order: Order of the inward reference's patches.
    """

    def __init__(
        self,
        in_channels: int,
        inward_channels: int,
        out_channels: int,
        width: int,
        stride: int,
        order: PatchOrder,
    ):
        super().__init__()
        self.inward = InwardReference(stride, width, inward_channels, order)
        self.reconstruct = ReconstructionBlock(in_channels + inward_channels, width, out_channels)
        self.mask = nn.Conv2d(out_channels, 1, 1)
        self.outward = OutwardReference(out_channels, width // 4)

    def forward(self, x: Tensor, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns features [B, out_channels, h, w], and logits of mask and gradient, [B, 1, h, w].

        Args:
            x: Features of the coarser level, [B, in_channels, h, w].
            images: [B, 3, H, W].
        """
        x = self.reconstruct(self.inward(x, images))
        mask = self.mask(x)
        x, gradient = self.outward(x)
        return x, mask, gradient


class BiRefNetwork(BaseModule):
    """Two scales of one backbone, and a decoder that refers to the image at each level.

    `forward(): encode -> localise -> 3x (BiRefBlock, lateral connection) -> finest level -> mask`

    Args:
        backbone: Config of a backbone with four maps at strides 4, 8, 16, 32 whose widths are
            `num_features`, such as mmseg's `SwinTransformer`.
        patch_order: Order of the inward references' patches, see `stack_patches`.
        width: Channels inside the decoder's blocks; 64 in all released models.

    Raises:
        ValueError: If `patch_order` is unknown.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self,
        backbone: dict,
        patch_order: PatchOrder = 'channel-row-column',
        width: int = 64,
    ):
        super().__init__()
        if patch_order not in PATCH_ORDERS:
            raise ValueError(f'patch_order={patch_order!r}: expected one of {list(PATCH_ORDERS)}')
        self.backbone = MODELS.build(backbone)
        # maps of the whole and of the half-size image, concatenated
        maps = [2 * channels for channels in self.backbone.num_features]
        # channels of the inward references at strides 1, 4, 8, 16 and 32
        references = [maps[level] // 8 for level in (0, 1, 2, 3, 3)]
        self.localise = ReconstructionBlock(sum(maps), width, maps[3])
        # from coarse to fine
        self.levels = nn.ModuleList(
            BiRefBlock(
                maps[level],
                references[level + 1],
                maps[level - 1],
                width,
                self.strides[level],
                patch_order,
            )
            for level in (3, 2, 1)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(maps[i], maps[i], 1) for i in (2, 1, 0))
        self.finest_inward = InwardReference(self.strides[0], width, references[1], patch_order)
        self.finest = ReconstructionBlock(maps[0] + references[1], width, maps[0] // 2)
        self.pixel_inward = InwardReference(1, width, references[0], patch_order)
        self.mask = nn.Conv2d(maps[0] // 2 + references[0], 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Returns logits of the mask, [B, 1, H, W], and side outputs for training.

        The side outputs are logits of mask and gradient, [B, 1, h, w], of the decoder's levels at
        strides 32, 16 and 8.

        Args:
            images: [B, 3, H, W].
        """
        # 1. the backbone's maps at two scales, strides 4 to 32
        maps = self.encode(images)
        # 2. all of them at the coarsest level: where the object is
        x = self.localise(torch.cat([resize(m, maps[-1].shape[-2:]) for m in maps], dim=1))
        # 3. up again, from level to level
        sides = []
        for level, lateral, skip in zip(self.levels, self.laterals, maps[-2::-1], strict=True):
            x, mask, gradient = level(x, images)
            x = resize(x, skip.shape[-2:]) + lateral(skip)
            sides.append((mask, gradient))
        # 4. the finest level has no outward reference
        x = self.finest(self.finest_inward(x, images))
        # 5. pixels
        x = resize(x, images.shape[-2:])
        return self.mask(self.pixel_inward(x, images)), sides

    def encode(self, images: Tensor) -> list[Tensor]:
        """Returns maps of the image, concatenated with those at half its size; strides 4 to 32."""
        height, width = images.shape[-2:]
        whole = self.backbone(images)
        half = self.backbone(resize(images, (height // 2, width // 2)))
        return [
            torch.cat([a, resize(b, a.shape[-2:])], dim=1) for a, b in zip(whole, half, strict=True)
        ]
