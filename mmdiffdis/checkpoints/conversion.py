"""Pure functions from the weights of Stable Diffusion or of the released DiffDIS to our models'.

Unknown, missing and misshapen weights raise a `CheckpointError` that names them as the file does.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .loading import CheckpointError
from .published import PublishedNames

Weights = dict[str, Tensor]

# The largest channels of the empty prompt's two tokens, of the text encoder that SD-Turbo and
# SD 2.1 share.
EMPTY_PROMPT = (
    {457: 13.021, 267: -5.758, 135: -4.091, 148: -2.491},
    {58: -3.878, 953: 3.638, 648: -3.515, 545: 3.298},
)
PROMPT_TOLERANCE = 1e-2  # relative; float16 and other sources differ by less than 1e-3

# Parts that DiffDIS adds to Stable Diffusion's U-Net and trains from scratch: BDE and SWCI.
FRESH = ('class_embedding.', 'rgb_conv.', 'rgb_proj.', 'rgb_proj1.')
# Parts that DiffDIS adds and that start as a copy: mutual attention and its norm.
_TRANSFORMER = 'mid_block.attentions.0.transformer_blocks.0.'
COPIED = {
    f'{_TRANSFORMER}attn3.': f'{_TRANSFORMER}attn1.',
    f'{_TRANSFORMER}norm2_.': f'{_TRANSFORMER}norm1.',
}
MID_BLOCK = 'mid_block.'

# A repacked file may store the prompt embedding under any name that contains one of these words
# ('prompt', 'positive', 'text_embedding', 'encoder_hidden_states', ...); no U-Net weight does.
_PROMPT_WORDS = ('prompt', 'positive', 'text', 'encoder_hidden_states')

# Names of diffusers before 0.12, with which Stable Diffusion's VAE was published.
_OLD_ATTENTION = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}


def find_prompt(weights: Mapping[str, Tensor], source: str) -> str | None:
    """Returns the name of the empty prompt's embedding in a repacked file; `None` without one.

    Raises:
        CheckpointError: If several names could be the embedding's.
    """
    names = [name for name in weights if any(word in name.lower() for word in _PROMPT_WORDS)]
    if len(names) > 1:
        raise CheckpointError(
            f'{source} has {len(names)} tensors that could be the embedding of the empty prompt: '
            f'{_abbreviate(names)}; expected at most one'
        )
    return names[0] if names else None


def to_prompt(embedding: Tensor, expected: Tensor, source: str) -> Tensor:
    """Returns the embedding of the empty prompt as the model's buffer [1, L, D].

    Args:
        embedding: [L, D] or [1, L, D].
        expected: The model's buffer.
        source: File or folder of the embedding, for the message.

    Raises:
        CheckpointError: If L or D is not the model's, or the values are another text's.
    """
    prompt = embedding[None] if embedding.ndim == 2 else embedding
    if prompt.shape == expected.shape:
        check_empty_prompt(prompt, source)
        return prompt
    message = (
        f'the embedding of the empty prompt in {source} is {list(embedding.shape)}, expected '
        f'{list(expected.shape)}'
    )
    if prompt.ndim == 3 and prompt.shape[::2] == expected.shape[::2]:
        message += (
            f'; for {prompt.shape[1]} tokens: --cfg-options model.prompt_tokens={prompt.shape[1]}'
        )
    raise CheckpointError(message)


def check_empty_prompt(prompt: Tensor, source: str) -> None:
    """Raises CheckpointError unless a prompt of Stable Diffusion 2's size is its empty prompt.

    Args:
        prompt: [1, L, D]; prompts of other sizes than `EMPTY_PROMPT` are not checked.
        source: File or folder of the embedding, for the message.
    """
    if prompt.shape != (1, 2, 1024):
        return
    for token, values in zip(prompt[0].float(), EMPTY_PROMPT, strict=True):
        found, expected = token[list(values)], torch.tensor([*values.values()])
        if (found - expected).norm() > PROMPT_TOLERANCE * expected.norm():
            raise CheckpointError(
                f'the embedding in {source} is not that of the empty prompt: channels '
                f'{list(values)} are {[round(x, 3) for x in found.tolist()]}, expected '
                f'{[*values.values()]} +- 1 %; use the text encoder of SD-Turbo or SD 2.1, or '
                '--prompt-embedding with a file of its result'
            )


def strip_prefix(weights: Mapping[str, Tensor]) -> Weights:
    """Returns the U-Net's weights without a common prefix of their names, such as 'unet.'."""
    ends = sorted((name for name in weights if name.endswith('.conv_in.weight')), key=len)
    if 'conv_in.weight' in weights or not ends:
        return dict(weights)
    prefix = ends[0].removesuffix('conv_in.weight')
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def modernise_vae(weights: Mapping[str, Tensor]) -> Weights:
    """Returns the VAE's weights with the names and shapes of attention in today's diffusers.

    Older files name the projections differently and may store them as 1x1 convolutions.
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
    """Extends Stable Diffusion's U-Net to DiffDIS's, except for the parts in `FRESH`.

    conv_in takes the image latent beside the noisy latent: its weights are repeated for both and
    halved, which keeps the size of its outputs. Mutual attention is a copy of self-attention.

    Args:
        weights: The U-Net's, in diffusers' names.
        shapes: diffusers' name -> shape in the model.
    """
    grown = dict(weights)
    conv_in = weights.get('conv_in.weight')
    if conv_in is not None and shapes['conv_in.weight'][1] == 2 * conv_in.shape[1]:
        grown['conv_in.weight'] = conv_in.float().repeat(1, 2, 1, 1) / 2
    for copy, original in COPIED.items():
        for name in shapes:
            source = original + name.removeprefix(copy)
            if name.startswith(copy) and name not in weights and source in weights:
                grown[name] = weights[source]
    return grown


def rename_strictly(
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    names: PublishedNames,
    source: str,
    fresh: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> Weights:
    """Returns published weights under our names, if they are exactly those of a model.

    Args:
        weights: In published names.
        state: The model's state dict, on any device, for its names, shapes and integer types. Names
            without a row in `names` are ignored.
        names: Table such as `UNET_NAMES`.
        source: File or folder of the weights, for the message.
        fresh: Beginnings of published names that may be missing.
        unused: Beginnings of published names that the model may lack.

    Raises:
        CheckpointError: If names or shapes are not exactly the model's.
    """
    expected = names.to_published(state)
    unexpected = [n for n in weights if n not in expected and not n.startswith(unused)]
    missing = [n for n in expected if n not in weights and not n.startswith(fresh)]
    misshapen = [
        f'{n} (got {list(weights[n].shape)}, expected {list(tensor.shape)})'
        for n, tensor in expected.items()
        if n in weights and weights[n].shape != tensor.shape
    ]
    misfits = dict(unexpected=unexpected, missing=missing, misshapen=misshapen)
    if any(misfits.values()):
        found = [f'{len(n)} {kind}: {_abbreviate(n)}' for kind, n in misfits.items() if n]
        raise CheckpointError(f'{source} does not fit the model of the config: {"; ".join(found)}')
    # A file that was cast as a whole has counters of a floating-point type.
    used = {
        name: tensor if expected[name].is_floating_point() else tensor.to(expected[name].dtype)
        for name, tensor in weights.items()
        if name in expected
    }
    return names.to_ours(used)


def check_settings(
    settings: Mapping[str, Any], expected: Mapping[str, tuple[Any, str]], source: str
) -> None:
    """Raises CheckpointError unless the settings that shapes do not show are the model's.

    Args:
        settings: Read beside the weights; settings that it lacks are not checked.
        expected: Name -> the model's value, and the config option that sets it ('' without one).
        source: File of the settings, for the message.

    Raises:
        CheckpointError: If a setting differs; the message gives the options that change the model.
    """
    differing = {
        name: (settings[name], value, option)
        for name, (value, option) in expected.items()
        if name in settings and settings[name] != value
    }
    if not differing:
        return
    found = ', '.join(
        f'{name}={got!r} (the model: {value!r})' for name, (got, value, _) in differing.items()
    )
    options = [
        f'{option}={str(got).replace(" ", "")}' for got, _, option in differing.values() if option
    ]
    way_out = (
        f'; to build the model like that: --cfg-options {" ".join(options)}' if options else ''
    )
    raise CheckpointError(f'{source} says {found}{way_out}')


def _abbreviate(names: Sequence[str], number: int = 4) -> str:
    more = f' and {len(names) - number} more' if len(names) > number else ''
    return ', '.join(names[:number]) + more
