"""Convolutions, padding and resizing shared by several baselines."""

from collections.abc import Callable
from functools import partial

from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F

_RELU = partial(nn.ReLU, inplace=True)


def conv_norm_act(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    act: Callable[[], nn.Module] = _RELU,
    bias: bool = True,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> nn.Sequential:
    """Returns convolution, normalisation and activation; the size stays.

    mmcv's `ConvModule` does the same under other names of weights (`conv`, `bn`); this one is for
    networks whose checkpoints count the layers.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel.
        act: Builder of the activation, such as its class.
        bias: Whether the convolution has a bias.
        norm: Builder of the normalisation of so many channels.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias),
        norm(out_channels),
        act(),
    )


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int] = 3,
    dilation: int = 1,
    relu: bool = False,
    norm: bool = True,
) -> ConvModule:
    """Returns mmcv's module without bias, with batch norm and, if `relu`, ReLU; the size stays."""
    module = ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding='same',
        dilation=dilation,
        bias=False,
        norm_cfg=dict(type='BN') if norm else None,
        act_cfg=dict(type='ReLU') if relu else None,
    )
    nn.init.kaiming_normal_(module.conv.weight)  # as released; mmcv's has other deviations
    return module


def deep_stem(width: int) -> nn.Sequential:
    """Returns three 3x3 convolutions that halve images [B, 3, H, W], in place of one of 7x7.

    Source: the v1s, v1c and v1d of He et al., Bag of Tricks, CVPR 2019. The norm and activation of
    the last convolution follow outside, as in the published weights.

    Args:
        width: Channels of the last convolution; the others have half as many.
    """
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, padding=1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, width, 3, padding=1, bias=False),
    )


def pad_to_multiple(images: Tensor, divisor: int) -> Tensor:
    """Returns images [B, C, H, W] with the last rows and columns repeated.

    Both sides become the next multiple of `divisor`.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % divisor, 0, -height % divisor), mode='replicate')


def resize(maps: Tensor, like: Tensor, align_corners: bool = False) -> Tensor:
    """Returns maps [B, C, h, w] at the size of `like`, bilinear."""
    return F.interpolate(maps, like.shape[-2:], mode='bilinear', align_corners=align_corners)
