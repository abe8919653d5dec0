"""U-Net of SD-Turbo (Stable Diffusion 2) without its mid block, which is the neck."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    UpBlock2D,
)
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Skips = list[list[Tensor]]


class Condition(NamedTuple):
    """Conditioning of the U-Net blocks.

    Attributes:
        embedding: Time plus batch-discriminative embedding, [N, C_e].
        prompt: Prompt tokens, [N, L, D].
    """

    embedding: Tensor
    prompt: Tensor

    def chunk(self, num_halves: int) -> list['Condition']:
        """Returns the conditions of the halves."""
        return [Condition(*half) for half in zip(*(x.chunk(num_halves) for x in self), strict=True)]


def chunk_skips(skips: Skips, num_halves: int) -> list[Skips]:
    """Returns the skips of each half."""
    return [
        [[skip.chunk(num_halves)[half] for skip in level] for level in skips]
        for half in range(num_halves)
    ]


@MODELS.register_module()
class SDTurboUNet(BaseModule):
    """Encoder and decoder of the U-Net, made of diffusers' blocks.

    `condition(): timestep + batch-discriminative embedding, prompt`
    `encode(): conv_in -> down blocks -> bottleneck, skips`
    `inject(): scale-wise conditional injection into the skips`
    `decode(): up blocks -> conv_out`

    All levels but the coarsest have self-attention and cross-attention to the prompt, except
    where `num_heads` is None.

    Args:
        latent_channels: C, channels of one latent.
        block_out_channels: C_l, widths of the levels, finest first.
        num_heads: Attention heads of each level, None for a level without attention; the last
            number is that of the neck.
        layers_per_block: Residual blocks of an encoder level; a decoder level has one more.
        cross_attention_dim: D, width of the prompt tokens.
        norm_num_groups: Groups of the group normalisations.
        input_latents: Number of latents stacked in the input: 2 for image and noisy latent.
        bde: Config of the batch-discriminative embedding; None: no embedding of the halves.
        swci: Config of the scale-wise conditional injection; None: no injection.
        swci_levels: Number of levels with injection, finest first.
        with_cp: Recompute activations in the backward pass (gradient checkpointing).
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If `num_heads` has not one entry per level, or `swci_levels` exceeds the number
            of levels above the coarsest.
    """

    def __init__(
        self,
        latent_channels: int,
        block_out_channels: Sequence[int],
        num_heads: Sequence[int | None],
        layers_per_block: int,
        cross_attention_dim: int,
        norm_num_groups: int = 32,
        input_latents: int = 2,
        bde: dict | None = None,
        swci: dict | None = None,
        swci_levels: int = 3,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        levels = len(block_out_channels)
        if len(num_heads) != levels:
            raise ValueError(
                f'num_heads={list(num_heads)} for block_out_channels={list(block_out_channels)}: '
                'expected one number of heads per level'
            )
        if swci and swci_levels > levels - 1:
            raise ValueError(
                f'swci_levels={swci_levels}: a U-Net of {levels} levels takes at most {levels - 1}'
            )
        self.latent_channels = latent_channels
        self.cross_attention_dim = cross_attention_dim
        self.num_levels = levels

        embed_channels = 4 * block_out_channels[0]
        self.timestep_encoding = Timesteps(
            block_out_channels[0], flip_sin_to_cos=True, downscale_freq_shift=0
        )
        self.time_embedding = TimestepEmbedding(block_out_channels[0], embed_channels)
        self.bde = self.swci = None
        if bde:
            self.bde = MODELS.build(bde, default_args=dict(embed_channels=embed_channels))
        if swci:
            injected = dict(
                latent_channels=latent_channels, channels=block_out_channels[:swci_levels]
            )
            self.swci = MODELS.build(swci, default_args=injected)
        self.neck_sizes = dict(
            channels=block_out_channels[-1],
            embed_channels=embed_channels,
            num_heads=num_heads[-1],
            cross_attention_dim=cross_attention_dim,
            norm_num_groups=norm_num_groups,
        )

        plain = dict(temb_channels=embed_channels, resnet_eps=1e-5, resnet_groups=norm_num_groups)
        attending = dict(plain, cross_attention_dim=cross_attention_dim, use_linear_projection=True)
        in_channels = input_latents * latent_channels
        self.conv_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(block_out_channels):
            finer = block_out_channels[max(level - 1, 0)]
            coarser = block_out_channels[min(level + 1, levels - 1)]
            down = dict(
                in_channels=finer,
                out_channels=width,
                num_layers=layers_per_block,
                add_downsample=level < levels - 1,
            )
            up = dict(
                in_channels=finer,
                prev_output_channel=coarser,
                out_channels=width,
                num_layers=layers_per_block + 1,
                add_upsample=level > 0,
            )
            if level == levels - 1 or num_heads[level] is None:
                self.down_blocks.append(DownBlock2D(**down, **plain))
                self.up_blocks.insert(0, UpBlock2D(**up, **plain))
            else:
                heads = dict(num_attention_heads=num_heads[level])
                self.down_blocks.append(CrossAttnDownBlock2D(**down, **attending, **heads))
                self.up_blocks.insert(0, CrossAttnUpBlock2D(**up, **attending, **heads))
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, block_out_channels[0], eps=1e-5)
        self.conv_act = nn.SiLU()
        self.conv_out = nn.Conv2d(block_out_channels[0], latent_channels, 3, padding=1)

        if with_cp:
            for module in (*self.down_blocks.modules(), *self.up_blocks.modules()):
                # blocks for their residual blocks, spatial transformers for their layers
                if hasattr(module, 'gradient_checkpointing'):
                    module.gradient_checkpointing = True
                    module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights and of the inputs they expect."""
        return self.conv_in.weight.dtype

    @property
    def size_divisor(self) -> int:
        """Divisor of a latent's sides for which each level has half the sides of the finer one."""
        return 2 ** (self.num_levels - 1)

    def placeholder_prompt(self, num_tokens: int) -> Tensor:
        """Returns a prompt embedding [1, L, D] to be overwritten by a checkpoint.

        Fixed random tokens: with equal tokens or zeros, cross-attention would get no gradients.
        """
        size = (1, num_tokens, self.cross_attention_dim)
        return torch.randn(size, generator=torch.Generator().manual_seed(0), device='cpu')

    def condition(self, timesteps: int | Tensor, prompt: Tensor, batch_size: int) -> Condition:
        """Returns the conditioning of a batch.

        Args:
            timesteps: One for all, or one per row, [N].
            prompt: Prompt embedding, [1, L, D] or [N, L, D].
            batch_size: N, with BDE the masks' half first.
        """
        if not isinstance(timesteps, Tensor):  # filled on the device: a copy would wait for it
            timesteps = torch.full((batch_size,), timesteps, device=prompt.device)
        encoding = self.timestep_encoding(timesteps.to(prompt.device))
        embedding = self.time_embedding(encoding.to(self.dtype))
        if self.bde is not None:
            embedding = embedding + self.bde(batch_size // 2)
        return Condition(embedding, prompt.to(self.dtype).expand(batch_size, -1, -1))

    def encode(self, x: Tensor, condition: Condition) -> tuple[Tensor, Skips]:
        """Encodes stacked latents.

        Args:
            x: Image and noisy latents, [N, input_latents * C, h, w].
            condition: Conditioning of all N rows.

        Returns:
            The bottleneck [N, C_last, h / size_divisor, w / size_divisor] (rounded up) and the
            skips of each level, finest first.
        """
        x = self.conv_in(x.to(self.dtype))
        skips = [[x]]
        for block in self.down_blocks:
            x, outputs = _run(block, x, condition)
            skips.append(list(outputs))
        # the skip of conv_in belongs to the finest level
        return x, [skips[0] + skips[1], *skips[2:]]

    def inject(self, skips: Skips, latents: Sequence[Tensor]) -> Skips:
        """Returns the skips modulated by the image latents at 1/2, 1/4, ... (SWCI)."""
        if self.swci is None:
            return skips
        return self.swci(skips, [latent.to(self.dtype) for latent in latents])

    def decode(self, x: Tensor, skips: Skips, condition: Condition) -> Tensor:
        """Decodes bottleneck and skips of N rows to the U-Net's output, [N, C, h, w]."""
        skips = [skip for level in skips for skip in level]
        for block in self.up_blocks:
            num_skips = len(block.resnets)
            block_skips, skips = skips[-num_skips:], skips[:-num_skips]
            # the size of the next level's skips, which is not twice this one's if it was odd
            size = skips[-1].shape[2:] if skips else None
            inputs = dict(res_hidden_states_tuple=tuple(block_skips), upsample_size=size)
            x = _run(block, x, condition, **inputs)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))


def _run(block: nn.Module, x: Tensor, condition: Condition, **inputs) -> Tensor | tuple:
    """Runs one of diffusers' blocks, which take a prompt only if they have cross-attention."""
    if getattr(block, 'has_cross_attention', False):  # readable through FSDP's wrapper as well
        inputs['encoder_hidden_states'] = condition.prompt
    return block(x, temb=condition.embedding, **inputs)
