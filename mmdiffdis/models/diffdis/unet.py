"""The denoising U-Net of SD-Turbo (Stable Diffusion 2) without its mid block, which is the neck."""

from collections.abc import Sequence
from functools import partial

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
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .condition import Condition, Remembering, remember_conditions

Skips = list[list[Tensor]]


def attends(block: nn.Module) -> bool:
    """Whether a block takes the prompt: by diffusers' mark, which FSDP's wrapper has, too."""
    return getattr(block, 'has_cross_attention', False)


@MODELS.register_module()
class SDTurboUNet(Remembering, BaseModule):
    """Encoder and decoder of the U-Net, made of diffusers' blocks.

    ``condition(): timestep + batch-discriminative embedding, prompt``
    ``encode(): conv_in -> down blocks -> bottleneck, skips``
    ``inject(): scale-wise conditional injection into the skips``
    ``decode(): up blocks -> conv_out``

    The finest `len(block_out_channels) - 1` levels attend to themselves and to the prompt, unless
    `num_heads` says None; the coarsest does not.

    Args:
        latent_channels: C, channels of one latent.
        block_out_channels: C_l, widths of the levels, finest first.
        num_heads: attention heads of each level, None for a level without attention; the last is
            that of the neck.
        layers_per_block: residual blocks of an encoder level; a decoder level has one more.
        cross_attention_dim: D, width of the prompt's tokens.
        norm_num_groups: groups of the group normalisations.
        input_latents: how many latents the input stacks: image and noisy latent, or one alone.
        bde: config of the batch-discriminative embedding; None: the halves are not told apart.
        swci: config of the scale-wise conditional injection; None: no injection.
        swci_levels: how many levels are injected into, finest first.
        with_cp: recompute activations in the backward pass (gradient checkpointing).
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: one of `num_heads` per level is missing, or more levels are to be injected into
            than have a coarser one below them.
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
        self.mixed = False  # whether blocks differ in precision

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
        remember_conditions(self)

        if with_cp:
            for module in (*self.down_blocks.modules(), *self.up_blocks.modules()):
                # blocks for their residual blocks, spatial transformers for their layers
                if hasattr(module, 'gradient_checkpointing'):
                    module.gradient_checkpointing = True
                    module._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of what they take."""
        return self.conv_in.weight.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """Casts the weights; of bfloat16, only those of the coarsest level.

        For the finer levels the 7 bits of its mantissa are too few: they would change masks by more
        than 2/255 (docs/benchmarks.md). They, and all that belongs to no level, take float32.
        """
        self.mixed = dtype is torch.bfloat16
        self.to(torch.float32 if self.mixed else dtype)
        if self.mixed:
            for block in (self.down_blocks[-1], self.up_blocks[0]):
                block.to(dtype)

    @property
    def size_divisor(self) -> int:
        """Every level has half of the sides above it if a latent's are multiples of this."""
        return 2 ** (self.num_levels - 1)

    def stand_in_prompt(self, num_tokens: int) -> Tensor:
        """What takes the place of a prompt's embedding [1, L, D] until a checkpoint brings it.

        Fixed random tokens: equal or zero ones would leave the attention to them without gradients.
        """
        size = (1, num_tokens, self.cross_attention_dim)
        return torch.randn(size, generator=torch.Generator().manual_seed(0), device='cpu')

    def condition(
        self, timesteps: int | Tensor, prompt: Tensor, batch_size: int, halves: int = 2
    ) -> Condition:
        """What the blocks are told beside B images.

        Args:
            timesteps: one per latent, [2B]; or one for all, whose condition is remembered.
            prompt: for all, [1, L, D], or one per latent, [2B, L, D].
            batch_size: B.
            halves: 2; 1 if there are masks alone.
        """
        number = halves * batch_size

        def compute() -> Condition:
            steps = torch.as_tensor(timesteps, device=prompt.device).expand(number)
            own = prompt.to(self.dtype).expand(number, -1, -1)
            own = own.clone(memory_format=torch.contiguous_format)
            return Condition.of_batch(F.silu(self.embed(steps)), own, batch_size)

        if isinstance(timesteps, Tensor):
            return compute()
        embeddings = [self.time_embedding, *([] if self.bde is None else [self.bde])]
        weights = (weight for module in embeddings for weight in module.parameters())
        return self.recall(prompt, weights, compute, timesteps, batch_size, halves)

    def embed(self, timesteps: Tensor) -> Tensor:
        """Time plus batch-discriminative embedding, [2B, C_e], of 2B timesteps (B without BDE)."""
        encoding = self.timestep_encoding(timesteps).to(self.dtype)
        embedding = self.time_embedding(encoding)
        if self.bde is not None:
            embedding = embedding + self.bde(len(timesteps) // 2)
        return embedding

    def encode(self, x: Tensor, condition: Condition) -> tuple[Tensor, Skips]:
        """The encoder.

        Args:
            x: image and noisy latent, [2B, 2 * C, h, w] (`input_latents` * C); or [B, ...]: the
                same for both halves.
            condition: of all 2B.

        Returns:
            The bottleneck [2B, C_last, h / size_divisor, w / size_divisor], rounded up, and per
            level its skips.
        """
        x = self.conv_in(x)
        for_all = x.repeat(len(condition.embedding) // len(x), 1, 1, 1)
        skips = [[for_all]]
        if len(x) > 1:  # one alone is broadcast where the halves part: at the first embedding
            x = for_all
        for block in self.down_blocks:
            x, outputs = self._run(block, x, condition)
            skips.append(list(outputs))
        # The input's own skip belongs to the finest level.
        return x, [skips[0] + skips[1], *skips[2:]]

    def inject(self, skips: Skips, latents: Sequence[Tensor]) -> Skips:
        """The skips, modulated by the latents of the image at 1/2, 1/4, ... of its size."""
        return skips if self.swci is None else self.swci(skips, latents)

    def decode(self, x: Tensor, skips: Skips, condition: Condition) -> Tensor:
        """The decoder: bottleneck and skips -> the network's output, [N, C, h, w], N = 2B or B."""
        flat = [skip for level in skips for skip in level]
        for block in self.up_blocks:
            used, flat = flat[-len(block.resnets) :], flat[: -len(block.resnets)]
            # to the size of the finer level's skips, which is not twice this one's if it was odd
            size = flat[-1].shape[2:] if flat else None
            x = self._run(block, x, condition, used, upsample_size=size)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))

    def _run(
        self,
        block: nn.Module,
        x: Tensor,
        condition: Condition,
        skips: Sequence[Tensor] = (),
        **options,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """What a block of either kind returns, in the precision of its weights if those differ."""
        if self.mixed:
            dtype = next(block.parameters()).dtype
            x, condition, *skips = (given.to(dtype) for given in (x, condition, *skips))
        if attends(block):
            options['encoder_hidden_states'] = condition.prompt
        if skips:
            options['res_hidden_states_tuple'] = tuple(skips)
        return block(x, temb=condition.embedding, **options)

    def forward(
        self,
        x: Tensor,
        timesteps: int | Tensor,
        prompt: Tensor,
        latents: Sequence[Tensor] = (),
        neck: nn.Module | None = None,
        halves: int = 2,
    ) -> Tensor:
        """The whole U-Net: ``condition -> encode -> inject -> neck -> decode``, [2B, C, h, w]."""
        condition = self.condition(timesteps, prompt, len(x) // halves, halves)
        x, skips = self.encode(x, condition)
        skips = self.inject(skips, latents)
        if neck is not None:
            x = neck(x, condition.to(x.dtype))
        return self.decode(x, skips, condition)
