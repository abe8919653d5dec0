"""VAE, U-Net and prompt as DiffDIS and GenPercept share them."""

from collections.abc import Sequence
from itertools import islice

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from .dbia import NoNeck
from .unet import chunk_skips


class LatentUNet:
    """Mixin of modules that run a U-Net in the latent space of a VAE.

    `unet(): backbone.condition -> backbone.encode -> backbone.inject (SWCI) -> neck (DBIA)
             -> backbone.decode`

    Attributes:
        vae: Autoencoder.
        backbone: U-Net without its mid block.
        neck: Mid block.
        prompt: Embedding of the empty prompt, [1, L, D], a buffer of the checkpoint.
    """

    def build_parts(
        self, vae: dict, backbone: dict, neck: dict | None, prompt_tokens: int, **backbone_sizes
    ) -> None:
        """Builds vae, backbone, neck and prompt from their configs.

        Args:
            vae: Config of the autoencoder.
            backbone: Config of the U-Net.
            neck: Config of its mid block; None: the bottleneck goes through unchanged.
            prompt_tokens: L, tokens of the prompt embedding.
            backbone_sizes: Default arguments of the backbone.
        """
        self.vae = MODELS.build(vae)
        sizes = dict(latent_channels=self.vae.latent_channels, **backbone_sizes)
        self.backbone = MODELS.build(backbone, default_args=sizes)
        self.neck = MODELS.build(neck, default_args=self.backbone.neck_sizes) if neck else NoNeck()
        self.register_buffer('prompt', self.backbone.placeholder_prompt(prompt_tokens))

    def unet(
        self,
        noisy: Tensor,
        latents: Sequence[Tensor],
        timesteps: int | Tensor,
        num_outputs: int | None = None,
    ) -> list[Tensor]:
        """Returns the U-Net's output of each half, [mask] or [mask, edge], [B, C, h, w] each.

        Args:
            noisy: Noisy latents, [2B, C, h, w], the masks first; [B, C, h, w] for masks alone;
                [B, 0, h, w] for a U-Net without noise.
            latents: Image latents at 1, 1/2, 1/4, ..., [B, C, h, w], ...
            timesteps: One for all, or one per row of `noisy`.
            num_outputs: Number of halves to decode; None: all.
        """
        num_halves = noisy.shape[0] // latents[0].shape[0]
        x = torch.cat([latents[0].repeat(num_halves, 1, 1, 1), noisy], dim=1)  # [2B, 2C, h, w]
        # 1. timestep, batch-discriminative embedding, prompt
        condition = self.backbone.condition(timesteps, self.prompt, x.shape[0])
        # 2. encoder
        bottleneck, skips = self.backbone.encode(x, condition)
        # 3. scale-wise conditional injection
        skips = self.backbone.inject(skips, latents[1:])
        # 4. detail-balancing interactive attention; after it the halves never meet again
        bottlenecks = self.neck(bottleneck, condition, num_halves)
        # 5. decoder, half by half
        halves = zip(
            bottlenecks, chunk_skips(skips, num_halves), condition.chunk(num_halves), strict=True
        )
        return [self.backbone.decode(*half) for half in islice(halves, num_outputs)]

    def set_precision(self, dtype: torch.dtype, encoder_dtype: torch.dtype) -> None:
        """Casts the weights for inference; the step from noise to clean latents stays in float32.

        Args:
            dtype: Precision of U-Net, neck and VAE decoder.
            encoder_dtype: Precision of the VAE encoder, to which masks are more sensitive.
        """
        self.backbone.to(dtype)
        self.neck.to(dtype)
        self.vae.set_precision(encoder_dtype, dtype)
        for module in self.decoder_modules():
            module.to(dtype)

    def set_vae_slicing(self, enabled: bool) -> None:
        """Lets the VAE process the images of a batch one by one, in less memory."""
        self.vae.autoencoder.use_slicing = enabled

    def compiled_blocks(self) -> list[nn.Module]:
        """Returns the modules to be compiled one by one, without the code between them."""
        unet_blocks = [*self.backbone.down_blocks, self.neck, *self.backbone.up_blocks]
        blocks = [*self.vae.encoder_modules(), *unet_blocks, *self.decoder_modules()]
        return [block for block in blocks if [*block.children()]]  # torch skips single layers

    def decoder_modules(self) -> list[nn.Module]:
        """Returns the modules that decode a clean latent, in running order."""
        return self.vae.decoder_modules()

    def cost_parts(self) -> dict[str, list[nn.Module]]:
        """Returns the modules of each part of a prediction, in running order."""
        unet = self.backbone
        parts = {
            'encode (VAE encoder)': self.vae.encoder_modules(),
            'U-Net down (backbone)': [
                unet.time_embedding,
                unet.bde,
                unet.conv_in,
                unet.down_blocks,
                unet.swci,
            ],
            'U-Net mid (neck)': [self.neck],
            'U-Net up (backbone)': [unet.up_blocks, unet.conv_norm_out, unet.conv_out],
            'decode (VAE decoder)': self.decoder_modules(),
        }
        return {
            name: [module for module in modules if module is not None]
            for name, modules in parts.items()
        }
