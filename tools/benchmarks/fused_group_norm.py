"""GroupNorm and SiLU in one pass over channels-last feature maps, in Triton.

PyTorch's GroupNorm copies channels-last maps to its own layout and back around every convolution.
This module is for measuring alone (`tools/benchmarks/gpu.py`): `fuse(model)` replaces the
normalisations of diffusers' residual blocks.
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
    mean, square = (
        sums.sum(1).reshape(batch, 2, groups, channels // groups).sum(3)
        / (rows * channels // groups)
    ).unbind(1)
    inverse = (square - mean * mean).clamp_min(0).add(eps).rsqrt()
    scale = inverse.repeat_interleave(channels // groups, 1) * weight.float()
    shift = bias.float() - mean.repeat_interleave(channels // groups, 1) * scale
    y = torch.empty_like(x)
    grid = (batch, triton.cdiv(rows, 64), parts)
    _apply_kernel[grid](x, y, scale, shift, rows, channels, silu, 64, block)
    return y


class _FusedNorm(nn.Module):
    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        return group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class _SiLUOfVectors(nn.Module):
    """SiLU of time embeddings [B, C]; feature maps have had it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x) if x.ndim == 2 else x


def fuse(model: nn.Module) -> int:
    """Replaces the normalisations of residual blocks; returns the number of blocks."""
    blocks = [module for module in model.modules() if isinstance(module, ResnetBlock2D)]
    for block in blocks:
        block.norm1, block.norm2 = _FusedNorm(block.norm1), _FusedNorm(block.norm2)
        block.nonlinearity = _SiLUOfVectors()
    return len(blocks)
