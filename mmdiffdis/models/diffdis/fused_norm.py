"""GroupNorm and SiLU in one pass over channels-last feature maps, in Triton, for inference.

PyTorch's GroupNorm copies channels-last maps to its own layout, and the next convolution copies
them back: on an H200 two thirds of the time of a mask in float16 (docs/benchmarks.md).
"""

import torch
import triton
import triton.language as tl
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn


@triton.jit
def _sum_kernel(x, sums, rows, channels, BLOCK_ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Adds up a block of pixels: sums[n, block, (x, x * x), c]."""
    image, block, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    channel = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (channel < channels)
    start = image.to(tl.int64) * rows * channels
    value = tl.load(x + start + row * channels + channel, mask=inside, other=0.0).to(tl.float32)
    out = sums + (image * tl.num_programs(1) + block) * 2 * channels
    channel = part * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + channel, tl.sum(value, 0), mask=channel < channels)
    tl.store(out + channels + channel, tl.sum(value * value, 0), mask=channel < channels)


@triton.jit
def _finish_kernel(
    sums,
    weight,
    bias,
    scale,
    shift,
    blocks: tl.constexpr,  # the interpreter of Triton takes no other bound of a loop
    channels,
    width,
    count,
    eps,
    BLOCKS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Turns the sums of a group of `width` channels into scale[n, c] and shift[n, c]."""
    image, group = tl.program_id(0), tl.program_id(1)
    channel = group * width + tl.arange(0, WIDTH)
    inside = tl.arange(0, WIDTH) < width
    total = tl.zeros((WIDTH,), tl.float32)
    square = tl.zeros((WIDTH,), tl.float32)
    for start in range(0, blocks, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        at = sums + (image * blocks + block)[:, None] * 2 * channels + channel[None, :]
        mask = (block < blocks)[:, None] & inside[None, :]
        total += tl.sum(tl.load(at, mask=mask, other=0.0), 0)
        square += tl.sum(tl.load(at + channels, mask=mask, other=0.0), 0)
    mean = tl.sum(total) / count
    variance = tl.maximum(tl.sum(square) / count - mean * mean, 0.0)
    factor = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    factor = factor / tl.sqrt(variance + eps)
    offset = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32) - mean * factor
    tl.store(scale + image * channels + channel, factor, mask=inside)
    tl.store(shift + image * channels + channel, offset, mask=inside)


@triton.jit
def _apply_kernel(
    x,
    y,
    scale,
    shift,
    rows,
    channels,
    SILU: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Computes y = silu(x * scale[n, c] + shift[n, c])."""
    image, block, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = block * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    channel = part * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (row < rows) & (channel < channels)
    at = image.to(tl.int64) * rows * channels + row * channels + channel
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(scale + image * channels + channel, mask=channel < channels, other=0.0)
    offset = tl.load(shift + image * channels + channel, mask=channel < channels, other=0.0)
    value = value * factor + offset
    if SILU:
        value = value * tl.sigmoid(value)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """Returns silu(group_norm(x)) in the channels-last format.

    Args:
        x: Feature map [B, C, H, W].
        groups: Number of groups.
        weight, bias: [C].
        eps: Added to the variance.
        silu: Whether to apply SiLU.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    rows = height * width
    block = min(128, triton.next_power_of_2(channels))
    parts = triton.cdiv(channels, block)
    sum_rows = 256 if rows >= 2**16 else 64
    blocks = triton.cdiv(rows, sum_rows)
    sums = torch.empty(batch, blocks, 2, channels, device=x.device)
    _sum_kernel[(batch, blocks, parts)](x, sums, rows, channels, sum_rows, block)
    scale, shift = torch.empty(2, batch, channels, device=x.device)
    width = channels // groups
    sizes = blocks, channels, width, float(rows * width), eps
    power = triton.next_power_of_2(width)
    _finish_kernel[(batch, groups)](sums, weight, bias, scale, shift, *sizes, 64, power)
    y = torch.empty_like(x)
    grid = (batch, triton.cdiv(rows, 64), parts)
    _apply_kernel[grid](x, y, scale, shift, rows, channels, silu, 64, block)
    return y


class FusedGroupNorm(nn.GroupNorm):
    """GroupNorm of feature maps [B, C, H, W] or [B, C, N], with SiLU if asked for.

    Args:
        norm: Normalisation whose weights it shares.
        silu: Whether to apply SiLU.
    """

    def __init__(self, norm: nn.GroupNorm, silu: bool):
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device='meta')
        self.weight, self.bias = norm.weight, norm.bias
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalised map, channels-last in memory."""
        maps = x if x.ndim == 4 else x.unsqueeze(-1)
        y = group_norm_silu(maps, self.num_groups, self.weight, self.bias, self.eps, self.silu)
        return y.view(x.shape)


class _SiLUOfVectors(nn.Module):
    """SiLU of time embeddings [B, C]; feature maps have had it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x) if x.ndim == 2 else x


def fuse_norms(model: nn.Module) -> None:
    """Replaces the group normalisations of a model, those of residual blocks with their SiLU."""
    for block in [module for module in model.modules() if isinstance(module, ResnetBlock2D)]:
        block.norm1 = FusedGroupNorm(block.norm1, silu=True)
        block.norm2 = FusedGroupNorm(block.norm2, silu=True)
        block.nonlinearity = _SiLUOfVectors()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm:
                setattr(module, name, FusedGroupNorm(child, silu=False))
