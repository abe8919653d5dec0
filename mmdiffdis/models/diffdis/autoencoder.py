"""Autoencoders of latents, in whose space the denoising happens."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...checkpoints.taesd import SHIPPED, read_taesd
from ..settings import store_settings

PRECISIONS = ('bfloat16', 'float32', None)


class Autoencoder(BaseModule):
    """Base class: one of diffusers' autoencoders, encoding to scaled latents.

    Args:
        autoencoder: Autoencoder of diffusers.
        size_divisor: Number of pixels per side of a latent's pixel.
        scaling_factor: Factor that brings latents to unit variance.
        frozen: No gradients for the weights, and none recorded while encoding.
        precision: Precision of encoding: 'bfloat16' (autocast), 'float32' (even inside autocast) or
            None: that of the caller, but float32 inside autocast to float16, in which Stable
            Diffusion's VAE overflows. Only for a frozen autoencoder: a trained one is encoded and
            decoded by its trainer.
        slicing: Encode and decode the images of a batch one by one, in less memory.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If `precision` is unknown, or given without `frozen`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        size_divisor: int,
        scaling_factor: float,
        frozen: bool,
        precision: str | None,
        slicing: bool,
        init_cfg: dict | None,
    ):
        super().__init__(init_cfg)
        if precision not in PRECISIONS:
            raise ValueError(f'precision={precision!r}: expected one of {PRECISIONS}')
        if precision is not None and not frozen:
            raise ValueError(
                f'precision={precision!r} of an autoencoder that is trained (frozen=False): '
                'expected None, and a precision of the whole training (--amp)'
            )
        self.autoencoder = autoencoder
        self.latent_channels = autoencoder.config.latent_channels
        self.size_divisor = size_divisor
        self.scaling_factor = scaling_factor
        self.frozen = frozen
        self.precision = precision
        if slicing:
            self.autoencoder.enable_slicing()
        self.requires_grad_(not frozen)

    def encoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the encoder, in running order."""
        return [self.autoencoder.encoder]

    def decoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the decoder, in running order."""
        return [self.autoencoder.decoder]

    def set_precision(self, encoder: torch.dtype, decoder: torch.dtype) -> None:
        """Casts the weights of encoder and decoder."""
        for module in self.encoder_modules():
            module.to(encoder)
        for module in self.decoder_modules():
            module.to(decoder)

    def encode(self, x: Tensor) -> Tensor:
        """Encodes images [N, 3, H, W] in [-1, 1] to scaled latents [N, C, h, w] float32."""
        x = x.to(next(self.autoencoder.encoder.parameters()).dtype)
        gradients = torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)
        with gradients, self._autocast(x.device.type):
            return (self.latents(x) * self.scaling_factor).float()

    @abstractmethod
    def latents(self, x: Tensor) -> Tensor:
        """Returns the unscaled latents of images."""

    def _autocast(self, device: str) -> AbstractContextManager:
        if self.precision is None or not torch.amp.is_autocast_available(device):
            return _without_float16(device)
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == 'bfloat16')

    def decode(self, z: Tensor) -> Tensor:
        """Decodes scaled latents [N, C, h, w] to images [N, 3, H, W], about [-1, 1]."""
        dtype = next(self.autoencoder.decoder.parameters()).dtype
        with _without_float16(z.device.type):
            return self.autoencoder.decode((z / self.scaling_factor).to(dtype)).sample


def _without_float16(device: str) -> AbstractContextManager:
    """Returns a context without autocast to float16; other autocast goes on."""
    if not torch.amp.is_autocast_available(device):  # e.g. the meta device, to count operations
        return nullcontext()
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return torch.autocast(device, enabled=False)
    return nullcontext()


@MODELS.register_module()
class LatentAutoencoder(Autoencoder):
    """VAE of Stable Diffusion (diffusers' AutoencoderKL); encodes to the posterior's mean.

    Args:
        block_out_channels: Widths of the levels, finest first; each but the first halves the size.
        layers_per_block: Residual blocks of a level.
        latent_channels: C, channels of a latent.
        norm_num_groups: Groups of the group normalisations.
        scaling_factor, frozen, precision, slicing, init_cfg: As of `Autoencoder`.
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
        levels = len(block_out_channels)
        autoencoder = AutoencoderKL(
            down_block_types=['DownEncoderBlock2D'] * levels,
            up_block_types=['UpDecoderBlock2D'] * levels,
            block_out_channels=list(block_out_channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=norm_num_groups,
        )
        divisor = 2 ** (levels - 1)
        super().__init__(autoencoder, divisor, scaling_factor, frozen, precision, slicing, init_cfg)
        store_settings(self, scaling_factor=scaling_factor, norm_num_groups=norm_num_groups)

    def encoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the encoder, in running order."""
        return [self.autoencoder.encoder, self.autoencoder.quant_conv]

    def decoder_modules(self) -> list[nn.Module]:
        """Returns the modules of the decoder, in running order."""
        return [self.autoencoder.post_quant_conv, self.autoencoder.decoder]

    def latents(self, x: Tensor) -> Tensor:
        """Returns the unscaled latents of images: means of the posterior."""
        return self.autoencoder.encode(x).latent_dist.mode()


@MODELS.register_module()
class TinyAutoencoder(Autoencoder):
    """TAESD (diffusers' AutoencoderTiny): a light autoencoder of Stable Diffusion's scaled latents.

    Its latents and images are close to those of Stable Diffusion's VAE, not equal: masks change. A
    checkpoint of a model with Stable Diffusion's VAE loads as well: the shipped weights of TAESD
    then take that VAE's place.

    Source: https://github.com/madebyollin/taesd, MIT, Copyright (c) 2023 Ollin Boer Bohan.

    Args:
        channels: Width of all levels.
        latent_channels: C, channels of a latent.
        num_blocks: Residual blocks of the decoder's levels, coarsest first; the encoder has as many
            in reverse.
        frozen, precision, slicing, init_cfg: As of `Autoencoder`.
    """

    def __init__(
        self,
        channels: int = 64,
        latent_channels: int = 4,
        num_blocks: Sequence[int] = (3, 3, 3, 1),
        frozen: bool = True,
        precision: str | None = None,
        slicing: bool = False,
        init_cfg: dict | None = None,
    ):
        widths = (channels,) * len(num_blocks)
        autoencoder = AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            num_encoder_blocks=tuple(reversed(num_blocks)),
            num_decoder_blocks=tuple(num_blocks),
        )
        divisor = 2 ** (len(num_blocks) - 1)
        super().__init__(autoencoder, divisor, 1.0, frozen, precision, slicing, init_cfg)
        store_settings(self)
        self.register_load_state_dict_pre_hook(_take_shipped_weights)

    def latents(self, x: Tensor) -> Tensor:
        """Returns the latents of images, which TAESD scales itself."""
        return self.autoencoder.encode(x).latents


def _take_shipped_weights(
    module: TinyAutoencoder, state_dict: dict[str, Tensor], prefix: str, *_
) -> None:
    """Replaces the weights of Stable Diffusion's VAE, or none, by the shipped ones of TAESD."""
    names = [name for name in state_dict if name.startswith(f'{prefix}autoencoder.')]
    if any('.layers.' in name for name in names):
        return
    for name in names:
        del state_dict[name]
    print_log(f'the checkpoint has no TAESD: loading {SHIPPED}', logger='current')
    state_dict.update({prefix + name: tensor for name, tensor in read_taesd(SHIPPED).items()})
