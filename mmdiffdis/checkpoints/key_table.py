"""Where each tensor of a published checkpoint lives in our models.

The left column of a table holds the published names, the right one ours: here those of the released
DiffDIS U-Net and of diffusers' UNet2DConditionModel and AutoencoderKL in
:class:`DiffusionSegmentor`. A prefix is replaced whole, the first that fits; what no row mentions
keeps its name under the last row.
"""

from collections.abc import Iterable

_MID_BLOCK = 'mid_block.attentions.0.'
_TRANSFORMER = f'{_MID_BLOCK}transformer_blocks.0.'

UNET_PREFIXES = {
    'class_embedding.': 'backbone.bde.projection.',
    'rgb_conv.{i}.': 'backbone.swci.injectors.{i}.condition.',
    'rgb_proj.{i}.': 'backbone.swci.injectors.{i}.scale.',
    'rgb_proj1.{i}.': 'backbone.swci.injectors.{i}.shift.',
    'mid_block.resnets.0.': 'neck.residual_in.',
    'mid_block.resnets.1.': 'neck.residual_out.',
    f'{_TRANSFORMER}norm1.': 'neck.transformer.self_norm.',
    f'{_TRANSFORMER}attn1.': 'neck.transformer.self_attention.',
    f'{_TRANSFORMER}norm2_.': 'neck.transformer.mutual_attention.norm.',
    f'{_TRANSFORMER}attn3.': 'neck.transformer.mutual_attention.attention.',
    f'{_TRANSFORMER}norm2.': 'neck.transformer.prompt_norm.',
    f'{_TRANSFORMER}attn2.': 'neck.transformer.prompt_attention.',
    f'{_TRANSFORMER}norm3.': 'neck.transformer.feed_forward_norm.',
    f'{_TRANSFORMER}ff.': 'neck.transformer.feed_forward.',
    _MID_BLOCK: 'neck.transformer.',
    '': 'backbone.',
}
VAE_PREFIXES = {'': 'vae.autoencoder.'}


def _expand(prefixes: dict[str, str]) -> dict[str, str]:
    """The table with a row for each of the ten one-digit levels where it says ``{i}``."""
    return {
        old.replace('{i}', str(i)): new.replace('{i}', str(i))
        for old, new in prefixes.items()
        for i in range(10 if '{i}' in old else 1)
    }


def to_mmdiffdis(names: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    """Published names -> ours.

    Args:
        names: keys of a published checkpoint.
        prefixes: a table such as `UNET_PREFIXES`, whose last row fits every name.
    """
    table = _expand(prefixes)
    return {name: _replace(name, table) for name in names}


def to_published(names: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    """Our names -> the published; names that belong to another table's component are left out.

    Args:
        names: keys of one of our models.
        prefixes: a table such as `UNET_PREFIXES`.
    """
    backwards = {new: old for old, new in _expand(prefixes).items()}
    fitting = [name for name in names if name.startswith(tuple(backwards))]
    return {name: _replace(name, backwards) for name in fitting}


def _replace(name: str, prefixes: dict[str, str]) -> str:
    old = next(old for old in prefixes if name.startswith(old))
    return prefixes[old] + name[len(old) :]
