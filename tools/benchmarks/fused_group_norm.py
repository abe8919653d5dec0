"""GroupNorm and SiLU in one pass over channels-last feature maps, in Triton.

PyTorch's GroupNorm copies channels-last maps to its own layout and back around every convolution.
This module is for measuring alone, see `tools/benchmarks/gpu.py`.
"""

import torch
import triton
import triton.language as tl
from diffusers.models.attention_processor import Attention, AttnProcessor
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


class _FusedNorm(nn.Module):
    def __init__(self, norm: nn.GroupNorm, silu: bool):
        super().__init__()
        self.norm = norm
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        shape = x.shape
        if x.ndim == 3:  # attention of diffusers: [B, C, H * W]
            x = x.unsqueeze(-1)
        y = group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps, self.silu)
        return y.view(shape)


class _SiLUOfVectors(nn.Module):
    """SiLU of time embeddings [B, C]; feature maps have had it."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x) if x.ndim == 2 else x


def fuse(model: nn.Module) -> int:
    """Replaces all group normalisations; returns their number."""
    blocks = [module for module in model.modules() if isinstance(module, ResnetBlock2D)]
    for block in blocks:
        block.norm1, block.norm2 = _FusedNorm(block.norm1, True), _FusedNorm(block.norm2, True)
        block.nonlinearity = _SiLUOfVectors()
    others = [
        (module, name, child)
        for module in model.modules()
        if not isinstance(module, _FusedNorm)
        for name, child in module.named_children()
        if isinstance(child, nn.GroupNorm)
    ]
    for module, name, norm in others:
        setattr(module, name, _FusedNorm(norm, False))
    return 2 * len(blocks) + len(others)


def use_plain_attention(model: nn.Module) -> int:
    """Lets wide heads compute softmax(QK)V by matrix products; returns the number of modules."""
    wide = [
        module
        for module in model.modules()
        if isinstance(module, Attention) and module.inner_dim // module.heads > 256
    ]
    for module in wide:
        module.set_processor(AttnProcessor())
    return len(wide)
