"""Variational autoencoder, in whose latent space the denoising happens."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import AutoencoderKL
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

PRECISIONS = ('bfloat16', 'float32', None)


@MODELS.register_module()
class LatentAutoencoder(BaseModule):
    """VAE of Stable Diffusion (diffusers' AutoencoderKL); encodes to the posterior's mean.

    Args:
        block_out_channels: Widths of the levels, finest first; each but the first halves the size.
        layers_per_block: Residual blocks of a level.
        latent_channels: C, channels of a latent.
        norm_num_groups: Groups of the group normalisations.
        scaling_factor: Factor that brings latents to unit variance.
        frozen: No gradients for the weights, and none recorded while encoding.
        precision: Precision of encoding: 'bfloat16' (autocast), 'float32' (even inside autocast) or
            None: that of the caller.
        slicing: Encode and decode the images of a batch one by one, in less memory.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If `precision` is unknown.
    """

    def __init__(
        self,
        block_out_channels: Sequence[int],
        layers_per_block: int,
        latent_channels: int,
        norm_num_groups: int = 32,
        scaling_factor: float = 0.18215,
        frozen: bool = True,
        precision: str | None = None,
        slicing: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if precision not in PRECISIONS:
            raise ValueError(f'precision={precision!r}: expected one of {PRECISIONS}')
        levels = len(block_out_channels)
        self.autoencoder = AutoencoderKL(
            down_block_types=['DownEncoderBlock2D'] * levels,
            up_block_types=['UpDecoderBlock2D'] * levels,
            block_out_channels=list(block_out_channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
        )
        self.latent_channels = latent_channels
        self.scaling_factor = scaling_factor
        self.size_divisor = 2 ** (levels - 1)
        self.frozen = frozen
        self.precision = precision
        if slicing:
            self.autoencoder.enable_slicing()
        self.requires_grad_(not frozen)

    def encoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the encoder, in running order."""
        return [self.autoencoder.encoder, self.autoencoder.quant_conv]

    def decoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the decoder, in running order."""
        return [self.autoencoder.post_quant_conv, self.autoencoder.decoder]

    def set_precision(self, encoder: torch.dtype, decoder: torch.dtype) -> None:
        """Casts the weights of encoder and decoder."""
        for module in self.encoder_modules():
            module.to(encoder)
        for module in self.decoder_modules():
            module.to(decoder)

    def encode(self, x: Tensor) -> Tensor:
        """Encodes images [N, 3, H, W] in [-1, 1] to scaled latents [N, C, h, w]."""
        x = x.to(self.autoencoder.encoder.conv_in.weight.dtype)
        gradients = torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)
        with gradients, self._autocast(x.device.type):
            return self.autoencoder.encode(x).latent_dist.mode() * self.scaling_factor

    def _autocast(self, device: str) -> AbstractContextManager:
        if self.precision is None:
            return nullcontext()
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == 'bfloat16')

    def decode(self, z: Tensor) -> Tensor:
        """Decodes scaled latents [N, C, h, w] to images [N, 3, H, W], about [-1, 1]."""
        z = (z / self.scaling_factor).to(self.autoencoder.post_quant_conv.weight.dtype)
        return self.autoencoder.decode(z).sample
