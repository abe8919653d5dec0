"""Modulated deformable convolution in plain PyTorch: any device, no compiled operators."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ModulatedDeformConv2d(nn.Module):
    """Convolution whose taps are shifted and weighted depending on the input; the size stays.

    Tap k at output position p reads the input at `p + p_k + offset_k(p)`, interpolated bilinearly
    and 0 outside, times `2 sigmoid(modulation_k(p))`. Offset and modulation start at zero, so that
    it starts as a plain convolution.

    Source: Zhu et al., Deformable ConvNets v2 (CVPR 2019). The paper has the factor 1 in place
    of 2, and starts with a modulation of 0.5.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel, in pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        same = dict(kernel_size=kernel_size, padding=kernel_size // 2)
        self.kernel_size = kernel_size
        self.offset = nn.Conv2d(in_channels, 2 * kernel_size**2, **same)
        self.modulation = nn.Conv2d(in_channels, kernel_size**2, **same)
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **same)
        for layer in (self.offset, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, out_channels, H, W]."""
        # [B, kernel rows, kernel columns, (y, x), H, W]
        offset = self.offset(x).unflatten(1, (self.kernel_size, self.kernel_size, 2))
        modulation = 2 * self.modulation(x).sigmoid()
        modulation = modulation.unflatten(1, (self.kernel_size, self.kernel_size))
        grid = self._grid(x)
        # one kernel row at a time: all 49 taps of a 7x7 kernel need 49 times the input's memory
        return sum(
            self._row(x, grid, row, offset[:, row], modulation[:, row])
            for row in range(self.kernel_size)
        )

    def _row(self, x: Tensor, grid: Tensor, row: int, offset: Tensor, modulation: Tensor) -> Tensor:
        """Returns the contribution of one kernel row, [B, out_channels, H, W].

        Args:
            x: Input, [B, C, H, W].
            grid: Pixel coordinates (y, x), [2, H, W].
            row: Index of the kernel row.
            offset: Offsets of its taps, [B, columns, 2, H, W], in pixels.
            modulation: Weights of its taps, [B, columns, H, W].
        """
        centre = self.kernel_size // 2
        columns = torch.arange(self.kernel_size, device=x.device, dtype=grid.dtype)
        taps = torch.stack([torch.full_like(columns, row), columns], dim=1) - centre
        tap_y, tap_x = (grid + taps[:, :, None, None] + offset).unbind(2)  # [B, columns, H, W]
        height, width = x.shape[-2:]
        # grid_sample's unit without align_corners: -1 and 1 are the outer borders of the image
        where = torch.stack([(2 * tap_x + 1) / width - 1, (2 * tap_y + 1) / height - 1], dim=-1)
        samples = F.grid_sample(x, where.flatten(1, 2), align_corners=False)  # zeros outside
        samples = samples.unflatten(2, (self.kernel_size, height)) * modulation[:, None]
        return torch.einsum('bikhw,oik->bohw', samples, self.conv.weight[:, :, row])

    @staticmethod
    def _grid(x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        axes = (torch.arange(n, device=x.device, dtype=torch.float32) for n in (height, width))
        return torch.stack(torch.meshgrid(*axes, indexing='ij'))
