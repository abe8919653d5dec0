"""Swin Transformer: five maps of an image, and names and layouts of the original weights."""

from collections.abc import Mapping, Sequence

from mmseg.models.backbones import SwinTransformer
from torch import Tensor, nn

# the original names -> mmseg's
SWIN_PATTERNS = {
    'layers.{}.blocks.{}.attn.': 'stages.{}.blocks.{}.attn.w_msa.',
    'layers.{}.blocks.{}.mlp.fc1.': 'stages.{}.blocks.{}.ffn.layers.0.0.',
    'layers.{}.blocks.{}.mlp.fc2.': 'stages.{}.blocks.{}.ffn.layers.1.',
    'layers.': 'stages.',
    'patch_embed.proj.': 'patch_embed.projection.',
    '': '',
}


def to_tokens(maps: Tensor) -> Tensor:
    """Returns the tokens of maps, [N, C, h, w] -> [N, hw, C]."""
    return maps.flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """Returns the maps of tokens, the inverse of `to_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, tuple(size))


def five_widths(backbone: nn.Module) -> tuple[int, ...]:
    """Returns the channels of the `five_maps` of a backbone."""
    widths = backbone.num_features
    return (widths[0], *widths) if isinstance(backbone, SwinTransformer) else tuple(widths)


def five_maps(backbone: nn.Module, images: Tensor) -> list[Tensor]:
    """Returns the embedded patches and the four stages' maps, at 1/4, 1/4, 1/8, 1/16, 1/32.

    The patch embedding is computed twice, because mmseg's Swin does not return it: 0.1 % of the
    FLOP.

    Args:
        backbone: mmseg's `SwinTransformer`, or a backbone with five maps, such as `Res2Net`.
        images: [B, 3, H, W].
    """
    if not isinstance(backbone, SwinTransformer):
        return backbone(images)
    tokens, size = backbone.patch_embed(images)
    return [to_maps(tokens, size), *backbone(images)]


def to_mmseg_order(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights with merged patches in mmseg's order.

    The layers that merge 2x2 patches take them as [column, row, channel] in Swin's own code, and as
    [channel, row, column] in mmseg's, which unfolds.
    """
    return _reorder(weights, (2, 2, -1))


def to_published_order(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights with merged patches in Swin's order, the inverse of `to_mmseg_order`."""
    return _reorder(weights, (-1, 2, 2))


def _reorder(weights: Mapping[str, Tensor], inputs: tuple[int, int, int]) -> dict[str, Tensor]:
    return {
        name: tensor.unflatten(-1, inputs).transpose(-3, -1).flatten(-3)
        if name.rpartition('.')[0].endswith(('.downsample.reduction', '.downsample.norm'))
        else tensor
        for name, tensor in weights.items()
    }


# for `PublishedNames.layout`
SWIN_LAYOUT = (to_mmseg_order, to_published_order)
