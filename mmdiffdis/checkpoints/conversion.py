"""From the weights of Stable Diffusion, or of the released DiffDIS, to those of our models.

Pure functions, from state dicts in diffusers' names to one in ours. Whatever is unknown, missing or
of another shape raises a `CheckpointError` that names it as the file does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from .loading import CheckpointError
from .published import PublishedNames

Weights = dict[str, Tensor]

# What DiffDIS adds to Stable Diffusion's U-Net and starts afresh: BDE and SWCI.
FRESH = ('class_embedding.', 'rgb_conv.', 'rgb_proj.', 'rgb_proj1.')
# What it adds and starts as a copy: mutual attention and its norm.
_TRANSFORMER = 'mid_block.attentions.0.transformer_blocks.0.'
COPIED = {
    f'{_TRANSFORMER}attn3.': f'{_TRANSFORMER}attn1.',
    f'{_TRANSFORMER}norm2_.': f'{_TRANSFORMER}norm1.',
}
MID_BLOCK = 'mid_block.'

# No key of a U-Net contains one of these words, so a repacked file's embedding of the empty prompt
# may have any name with one: 'prompt', 'positive', 'text_embedding', 'encoder_hidden_states', ...
_PROMPT_WORDS = ('prompt', 'positive', 'text', 'encoder_hidden_states')

# Of diffusers before 0.12, in whose names Stable Diffusion's VAE was published.
_OLD_ATTENTION = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}


def find_prompt(weights: Mapping[str, Tensor], source: str) -> str | None:
    """The name of the empty prompt's embedding among a repacked file's weights, if it is there.

    Raises:
        CheckpointError: Several have a name like an embedding's.
    """
    names = [name for name in weights if any(word in name.lower() for word in _PROMPT_WORDS)]
    if len(names) > 1:
        raise CheckpointError(
            f'{source} has {len(names)} tensors that could be the embedding of the empty prompt: '
            f'{_some(names)}; expected at most one.'
        )
    return names[0] if names else None


def to_prompt(embedding: Tensor, expected: Tensor, source: str) -> Tensor:
    """The embedding [L, D] or [1, L, D] of the empty prompt as the model's buffer [1, L, D].

    Args:
        embedding: What was found.
        expected: The model's buffer.
        source: Where it was found.

    Raises:
        CheckpointError: Another L or D than the model's.
    """
    prompt = embedding[None] if embedding.ndim == 2 else embedding
    if prompt.shape == expected.shape:
        return prompt
    message = (
        f'the embedding of the empty prompt in {source} is {list(embedding.shape)}, expected '
        f'{list(expected.shape)}'
    )
    if prompt.ndim == 3 and prompt.shape[::2] == expected.shape[::2]:
        message += (
            f'; for {prompt.shape[1]} tokens: --cfg-options model.prompt_tokens={prompt.shape[1]}'
        )
    raise CheckpointError(f'{message}.')


def strip_prefix(weights: Mapping[str, Tensor]) -> Weights:
    """The U-Net's weights without what stands before all their names, such as 'unet.'."""
    ends = sorted((name for name in weights if name.endswith('.conv_in.weight')), key=len)
    if 'conv_in.weight' in weights or not ends:
        return dict(weights)
    prefix = ends[0].removesuffix('conv_in.weight')
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def modernise_vae(weights: Mapping[str, Tensor]) -> Weights:
    """The VAE's weights with its attention named, and shaped, as diffusers does today.

    Before, the projections had other names, and were 1x1 convolutions or linear.
    """
    modern = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r'(.*\.attentions\.\d+)\.(\w+)(\.\d+)?\.(weight|bias)', name)
        if match and match[2] in _OLD_ATTENTION:
            name = f'{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[4]}'
        if match and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]
        modern[name] = tensor
    return modern


def grow_unet(weights: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> Weights:
    """Stable Diffusion's U-Net as the beginning of DiffDIS's, without what starts afresh.

    conv_in sees image and noisy latent, both through the weights for one, halved, so that what it
    puts out keeps its size; mutual attention is a copy of the self-attention.

    Args:
        weights: The U-Net's.
        shapes: diffusers' name -> shape of what the model has.
    """
    grown = dict(weights)
    first = weights.get('conv_in.weight')
    if first is not None and shapes['conv_in.weight'][1] == 2 * first.shape[1]:
        grown['conv_in.weight'] = first.float().repeat(1, 2, 1, 1) / 2
    for new, old in COPIED.items():
        for name in shapes:
            origin = old + name.removeprefix(new)
            if name.startswith(new) and name not in weights and origin in weights:
                grown[name] = weights[origin]
    return grown


def rename(
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    names: PublishedNames,
    source: str,
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> Weights:
    """The weights under our names.

    Args:
        weights: In diffusers' names.
        state: The model's state dict, on any device, for its names, shapes and integer types.
        names: `UNET_NAMES` or `VAE_NAMES`.
        source: Where they come from.
        fresh: Beginnings of the names that may be missing.
        unused: Beginnings of the names that the model need not have.

    Raises:
        CheckpointError: Names or shapes are not exactly the model's.
    """
    expected = names.to_published(state)
    shapes = {name: list(tensor.shape) for name, tensor in expected.items()}
    unexpected = [n for n in weights if n not in shapes and not n.startswith(unused)]
    missing = [n for n in shapes if n not in weights and not n.startswith(fresh)]
    misshapen = [
        f'{n} (got {list(weights[n].shape)}, expected {shape})'
        for n, shape in shapes.items()
        if n in weights and list(weights[n].shape) != shape
    ]
    kinds = dict(unexpected=unexpected, missing=missing, misshapen=misshapen)
    if any(kinds.values()):
        found = '; '.join(f'{len(of)} {kind}: {_some(of)}' for kind, of in kinds.items() if of)
        raise CheckpointError(f'{source} does not fit the model of the config: {found}.')
    # A file that was cast as a whole has counters of a floating-point type.
    used = {
        name: tensor if expected[name].is_floating_point() else tensor.to(expected[name].dtype)
        for name, tensor in weights.items()
        if name in expected
    }
    return names.to_ours(used)


def check_settings(
    given: Mapping[str, Any], expected: Mapping[str, tuple[Any, str]], source: str
) -> None:
    """Returns if the settings that shapes do not show are the model's.

    Args:
        given: Of the weights' origin; what it leaves out is not checked.
        expected: Name -> the model's value, and the option that sets it ('' if none does).
        source: Where the settings were read.

    Raises:
        CheckpointError: One differs; the message says how to change the model's.
    """
    differing = [name for name in expected if name in given and given[name] != expected[name][0]]
    if not differing:
        return
    found = ', '.join(f'{n}={given[n]!r} (the model: {expected[n][0]!r})' for n in differing)
    options = [
        f'{expected[n][1]}={str(given[n]).replace(" ", "")}' for n in differing if expected[n][1]
    ]
    way_out = (
        f'; to build the model like that: --cfg-options {" ".join(options)}' if options else ''
    )
    raise CheckpointError(f'{source} says {found}{way_out}.')


def _some(names: Sequence[str], number: int = 4) -> str:
    more = f' and {len(names) - number} more' if len(names) > number else ''
    return ', '.join(names[:number]) + more
