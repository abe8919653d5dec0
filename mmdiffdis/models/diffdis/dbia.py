"""Detail-balancing interactive attention (DBIA): the U-Net's mid block, in which the mask half and
the edge half of a batch attend to each other (paper, Sec. 4.2, Eqn. 6)."""

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from .unet import Condition

INTERACTIONS = ('mutual', 'concat', None)


class MutualAttention(nn.Module):
    """Attention of one half of a batch to the other.

    Args:
        channels: C, width of the tokens.
        num_heads: Number of attention heads.
        interaction: 'mutual': keys and values of the other half (DiffDIS); 'concat': keys and
            values of both halves (GeoWizard, Table 5).
    """

    def __init__(self, channels: int, num_heads: int, interaction: str):
        super().__init__()
        self.interaction = interaction
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads=num_heads, dim_head=channels // num_heads)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Returns what `own` gathers from `other`; tokens, [B, N, C] each."""
        own, other = self.norm(own), self.norm(other)
        if self.interaction == 'concat':
            other = torch.cat([own, other], dim=1)  # [B, 2N, C]
        return self.attention(own, encoder_hidden_states=other)


class InteractiveTransformer(nn.Module):
    """Spatial transformer of Stable Diffusion with mutual attention after the self-attention.

    `attend_to_self(): norm -> proj_in -> self-attention`
    `exchange(): mutual attention -> prompt attention -> feed-forward -> proj_out -> residual`

    Args:
        channels: C, width of the bottleneck and of the tokens.
        num_heads: Number of attention heads.
        cross_attention_dim: D, width of the prompt tokens.
        norm_num_groups: Groups of the group normalisation.
        interaction: One of `INTERACTIONS`.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        cross_attention_dim: int,
        norm_num_groups: int,
        interaction: str | None,
    ):
        super().__init__()
        head_dim = channels // num_heads
        # eps 1e-6 and linear projections: the spatial transformer of SD 2 (its U-Net config)
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.self_norm = nn.LayerNorm(channels)
        self.self_attention = Attention(channels, heads=num_heads, dim_head=head_dim)
        self.mutual_attention = (
            MutualAttention(channels, num_heads, interaction) if interaction else None
        )
        self.prompt_norm = nn.LayerNorm(channels)
        self.prompt_attention = Attention(
            channels, cross_attention_dim, heads=num_heads, dim_head=head_dim
        )
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels)
        self.proj_out = nn.Linear(channels, channels)

    def attend_to_self(self, x: Tensor) -> Tensor:
        """Returns tokens [N, hw, C] of feature maps [N, C, h, w]."""
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        return tokens + self.self_attention(self.self_norm(tokens))

    def exchange(self, x: Tensor, own: Tensor, other: Tensor, prompt: Tensor) -> Tensor:
        """Returns the feature maps of one half after its tokens attended to the other's.

        Args:
            x: Feature maps of the half, [B, C, h, w].
            own: Tokens of the half, [B, hw, C].
            other: Tokens of the other half, [B, hw, C].
            prompt: Prompt tokens, [B, L, D].
        """
        tokens = own
        if self.mutual_attention is not None:
            tokens = tokens + self.mutual_attention(own, other)
        tokens = tokens + self.prompt_attention(
            self.prompt_norm(tokens), encoder_hidden_states=prompt
        )
        tokens = tokens + self.feed_forward(self.feed_forward_norm(tokens))
        return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, x.shape[2:])


@MODELS.register_module()
class DBIANeck(BaseModule):
    """Mid block of the U-Net with interaction between the mask half and the edge half.

    `forward(): residual block -> interactive transformer -> residual block`

    Args:
        channels: C, width of the bottleneck.
        embed_channels: Width of the time embedding.
        num_heads: Number of attention heads.
        cross_attention_dim: D, width of the prompt tokens.
        norm_num_groups: Groups of the group normalisations.
        interaction: 'mutual' (the paper's), 'concat' (GeoWizard's shared keys and values, Table 5)
            or None (the mid block of Stable Diffusion, without interaction).
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If `interaction` is unknown.
    """

    def __init__(
        self,
        channels: int,
        embed_channels: int,
        num_heads: int,
        cross_attention_dim: int,
        norm_num_groups: int = 32,
        interaction: str | None = 'mutual',
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if interaction not in INTERACTIONS:
            raise ValueError(f'interaction={interaction!r}: expected one of {INTERACTIONS}')
        residual_sizes = dict(
            in_channels=channels, temb_channels=embed_channels, groups=norm_num_groups, eps=1e-5
        )
        self.residual_in = ResnetBlock2D(**residual_sizes)
        self.transformer = InteractiveTransformer(
            channels, num_heads, cross_attention_dim, norm_num_groups, interaction
        )
        self.residual_out = ResnetBlock2D(**residual_sizes)

    def forward(self, x: Tensor, condition: Condition, num_halves: int = 2) -> list[Tensor]:
        """Returns the bottleneck of each half, [B, C, h, w].

        Each half is computed in a batch of its own: kernels round differently in batches of
        another size, and the mask must not depend on whether the edge is computed.

        Args:
            x: Bottleneck of all halves, [num_halves * B, C, h, w], the mask half first.
            condition: Conditioning of all halves.
            num_halves: 2 for mask and edge; 1 for the mask alone, without interaction.
        """
        x = self.residual_in(x, condition.embedding)
        tokens = self.transformer.attend_to_self(x).chunk(num_halves)
        halves = zip(x.chunk(num_halves), condition.chunk(num_halves), strict=True)
        outputs = []
        for i, (half, half_condition) in enumerate(halves):
            half = self.transformer.exchange(half, tokens[i], tokens[i - 1], half_condition.prompt)
            outputs.append(self.residual_out(half, half_condition.embedding))
        return outputs


class NoNeck(nn.Module):
    """Splits the bottleneck into halves and changes nothing: the neck of `neck=None`."""

    def forward(self, x: Tensor, condition: Condition, num_halves: int = 2) -> list[Tensor]:
        """Returns the bottleneck of each half, [B, C, h, w]; see `DBIANeck.forward`."""
        return list(x.chunk(num_halves))
