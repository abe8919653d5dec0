"""From the names and layouts of Swin Transformer's own weights to mmseg's, and back."""

from collections.abc import Mapping

from torch import Tensor

_BLOCKS = {'attn.': 'attn.w_msa.', 'mlp.fc1.': 'ffn.layers.0.0.', 'mlp.fc2.': 'ffn.layers.1.'}
_MOST_BLOCKS = 18  # of a stage, in Swin-S, -B and -L

SWIN_PREFIXES = {
    **{
        f'layers.{stage}.blocks.{block}.{theirs}': f'stages.{stage}.blocks.{block}.{ours}'
        for stage in range(4)
        for block in range(_MOST_BLOCKS)
        for theirs, ours in _BLOCKS.items()
    },
    'layers.': 'stages.',
    'patch_embed.proj.': 'patch_embed.projection.',
    '': '',
}


def to_mmseg_order(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with those after a merging of 2x2 patches as mmseg orders its inputs.

    Swin concatenates whole patches, columns outermost: [column, row, channel]; mmseg's unfold
    gives [channel, row, column].
    """
    return _reorder(weights, (2, 2, -1))


def to_published_order(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`to_mmseg_order`."""
    return _reorder(weights, (-1, 2, 2))


def _reorder(weights: Mapping[str, Tensor], inputs: tuple[int, int, int]) -> dict[str, Tensor]:
    return {
        name: tensor.unflatten(-1, inputs).transpose(-3, -1).flatten(-3)
        if '.downsample.' in name
        else tensor
        for name, tensor in weights.items()
    }
