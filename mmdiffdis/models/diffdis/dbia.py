"""Detail-balancing interactive attention: the U-Net's mid block, where the mask half and the edge
half of a batch attend to each other (paper, Sec. 4.2, Eqn. 6)."""

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from .condition import Condition, remember_conditions

INTERACTIONS = ('mutual', 'concat', None)


class MutualAttention(nn.Module):
    """Cross-domain attention between the two halves of a batch.

    Args:
        channels: width of the tokens.
        num_heads: number of attention heads.
        interaction: 'mutual': the queries of one half see the keys and values of the other (the
            paper's); 'concat': the queries of both see the keys and values of both (GeoWizard's,
            Table 5).
    """

    def __init__(self, channels: int, num_heads: int, interaction: str):
        super().__init__()
        self.interaction = interaction
        self.norm = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads=num_heads, dim_head=channels // num_heads)

    def forward(self, tokens: Tensor, mask_only: bool = False) -> Tensor:
        """[2B, N, C] tokens -> what each half gathered, [2B, N, C], or [B, N, C] if `mask_only`."""
        mask, edge = self.norm(tokens).chunk(2)
        if self.interaction == 'concat':
            both = torch.cat([mask, edge], dim=1)  # [B, 2N, C]
            mask_sees, edge_sees = both, both
        else:
            mask_sees, edge_sees = edge, mask
        if mask_only:
            return self.attention(mask, encoder_hidden_states=mask_sees)
        return self.attention(
            torch.cat([mask, edge]), encoder_hidden_states=torch.cat([mask_sees, edge_sees])
        )


class InteractiveTransformer(nn.Module):
    """SD's spatial transformer with the mutual attention after the self-attention.

    ``forward(): norm -> proj_in -> self-attention -> mutual attention -> attention to the prompt
    -> feed-forward -> proj_out -> residual``
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
        # eps 1e-6 and linear projections: SD 2's spatial transformer (its U-Net config).
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

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        """[2B, C, h, w] and the prompt [N, L, D] -> the first N of them, all or the mask half."""
        return self.exchange(x, self.look_at_self(x), prompt)

    def look_at_self(self, x: Tensor) -> Tensor:
        """Up to the self-attention: [2B, C, h, w] -> tokens [2B, hw, C]."""
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        return tokens + self.self_attention(self.self_norm(tokens))

    def exchange(self, x: Tensor, tokens: Tensor, prompt: Tensor) -> Tensor:
        """The rest, for as many as there are prompts: [N, C, h, w], N = 2B or B."""
        height, width = x.shape[2:]
        kept = len(prompt)
        if self.mutual_attention is None:
            tokens = tokens[:kept]
        else:
            tokens = tokens[:kept] + self.mutual_attention(tokens, kept < len(tokens))
        tokens = tokens + self.prompt_attention(
            self.prompt_norm(tokens), encoder_hidden_states=prompt
        )
        tokens = tokens + self.feed_forward(self.feed_forward_norm(tokens))
        return x[:kept] + self.proj_out(tokens).transpose(1, 2).unflatten(2, (height, width))


@MODELS.register_module()
class DBIANeck(BaseModule):
    """The U-Net's mid block, in which masks and edges exchange what they know.

    ``forward(): residual block -> interactive transformer -> residual block``

    Args:
        channels: C, width of the bottleneck.
        embed_channels: width of the time embedding.
        num_heads: attention heads.
        cross_attention_dim: D, width of the prompt's tokens.
        norm_num_groups: groups of the group normalisations.
        interaction: how the halves exchange: 'mutual' (the paper's), 'concat' (GeoWizard's shared
            keys and values, Table 5) or None (SD's own mid block, the halves apart).
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: unknown `interaction`.
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
        remember_conditions(self)

    def forward(self, x: Tensor, condition: Condition, mask_only: bool = False) -> Tensor:
        """The bottleneck after the exchange.

        Args:
            x: [2B, C, h, w], the mask half first.
            condition: of all 2B.
            mask_only: leave the edge half behind as soon as the mask half has seen it.

        Returns:
            [2B, C, h, w], or [B, C, h, w] if `mask_only`.
        """
        x = self.residual_in(x, condition.embedding)
        if self.training or mask_only or self.transformer.mutual_attention is None:
            kept = condition.halves[0] if mask_only else condition
            return self.residual_out(self.transformer(x, kept.prompt), kept.embedding)
        # Half by half, so that the mask's is to the last bit what it is alone.
        tokens = self.transformer.look_at_self(x)
        halves = []
        for shift, half in zip((0, len(x) // 2), condition.halves, strict=True):
            own = (each.roll(-shift, 0) for each in (x, tokens))  # what comes first is finished
            halves.append(
                self.residual_out(self.transformer.exchange(*own, half.prompt), half.embedding)
            )
        return torch.cat(halves)
