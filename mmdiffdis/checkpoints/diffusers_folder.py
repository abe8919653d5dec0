"""Reads folders in diffusers' layout: unet/, vae/, scheduler/, text_encoder/ and tokenizer/.

Nothing is executed and nothing converted: what comes out are the tensors and settings as written.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .loading import CheckpointError, load_from_local

# diffusers' names (its utils/constants.py): safetensors before pickles, float32 before float16.
_WEIGHTS = [
    f'diffusion_pytorch_model{variant}.{suffix}'
    for suffix in ('safetensors', 'bin')
    for variant in ('', '.fp16')
]
_INDICES = [
    f'diffusion_pytorch_model.{suffix}.index{variant}.json'
    for suffix in ('safetensors', 'bin')
    for variant in ('', '.fp16')
]
_HUB_ID = re.compile(r'[\w-][\w.-]*/[\w-][\w.-]*')
# Of a repository's many variants, what is read here.
_HUB_PATTERNS = [
    *(
        f'{component}/{name}'
        for component in ('unet', 'vae')
        for name in (
            'config.json',
            'diffusion_pytorch_model.safetensors',
            'diffusion_pytorch_model-*.safetensors',
            'diffusion_pytorch_model.safetensors.index.json',
        )
    ),
    'scheduler/*.json',
    'text_encoder/config.json',
    'text_encoder/model.safetensors',
    'tokenizer/*',
]


def local_folder(pretrained: str, option: str) -> Path:
    """The folder of a pretrained Stable Diffusion.

    Args:
        pretrained: A folder; or the id of a repository of the Hugging Face hub, 'owner/name', of
            which what is needed is downloaded (or taken from the hub's cache). What begins with
            '.', '/' or '~' is never taken for an id.
        option: How it was given, for the messages.

    Raises:
        FileNotFoundError: There is no such folder, and no such repository, or no way to it.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(str(pretrained)):
        raise FileNotFoundError(
            f'{pretrained} is not a folder; expected one with unet/, vae/, scheduler/, '
            "text_encoder/ and tokenizer/ as diffusers writes them, or a hub id, 'owner/name': "
            f'{option}=...'
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(pretrained, allow_patterns=_HUB_PATTERNS))
    except Exception as error:  # whatever the client and its transport raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileNotFoundError(
            f'{pretrained} is not a folder, and could not be fetched from the Hugging Face hub '
            f'({reason[0]}); download it elsewhere and pass the folder: {option}=FOLDER'
        ) from error


def subfolder(base: Path, name: str) -> Path:
    """`base/name`.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not (base / name).is_dir():
        raise FileNotFoundError(
            f'{base} has no {name}/; expected a folder as diffusers writes it, with unet/, vae/, '
            'scheduler/, text_encoder/ and tokenizer/.'
        )
    return base / name


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, or of a model's folder as `save_pretrained` writes it, also in shards.

    Raises:
        FileNotFoundError: There is no such file or folder, or no weights in it.
        CheckpointError: A file is damaged, holds more than tensors, or is a pickle that would have
            to be executed (see `load_from_local`); or a shard is missing.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return _read_file(path)
    for name in _WEIGHTS:
        if (path / name).is_file():
            return _read_file(path / name)
    for name in _INDICES:
        if (path / name).is_file():
            return _read_shards(path / name)
    raise FileNotFoundError(
        f'no weights in {path}; expected {_WEIGHTS[0]}, or its index of shards.'
    )


def _read_file(path: Path) -> dict[str, Tensor]:
    content = load_from_local(str(path), 'cpu')
    if isinstance(content, Tensor):  # an embedding on its own
        return {'prompt': content}
    content = content.get('state_dict', content) if isinstance(content, Mapping) else {'': content}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f'{path} holds {type(value).__name__} for {key!r}, expected nothing but tensors.'
            )
    return dict(content)


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index)['weight_map']
    files = sorted(set(weight_map.values()))
    if any(Path(name).name != name for name in files):  # it would lead out of the folder
        raise CheckpointError(f'{index} names files in other folders: {files}.')
    weights = {
        key: tensor for name in files for key, tensor in _read_file(index.parent / name).items()
    }
    if set(weights) != set(weight_map):
        differing = sorted(set(weights) ^ set(weight_map))
        raise CheckpointError(
            f'{index} and its shards do not agree on {len(differing)} keys: {differing[:4]}.'
        )
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """The contents of a JSON file.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; diffusers writes it beside the weights.')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(f'{path} is not JSON: {error}.') from error


def read_settings(folder: Path) -> dict[str, Any]:
    """A model's `config.json`; empty where only its weights were copied."""
    path = folder / 'config.json'
    return read_json(path) if path.is_file() else {}


def read_scheduler(base: Path) -> dict[str, Any]:
    """Number of timesteps, first and last beta and prediction type of a folder's scheduler.

    Raises:
        FileNotFoundError: The folder has no scheduler.
        CheckpointError: Its betas are not scaled-linear, or not said.
    """
    path = subfolder(base, 'scheduler') / 'scheduler_config.json'
    written = read_json(path)
    facts = {name: written.get(name) for name in ('num_train_timesteps', 'beta_start', 'beta_end')}
    unlike = {name: written.get(name) for name in ('trained_betas', 'rescale_betas_zero_snr')}
    if (
        written.get('beta_schedule') != 'scaled_linear'
        or any(unlike.values())
        or None in facts.values()
    ):
        raise CheckpointError(
            f'{path} has beta_schedule={written.get("beta_schedule")!r}, {facts}, {unlike}; '
            'expected the scaled-linear betas of Stable Diffusion.'
        )
    # Folders from before there was a choice do not say; diffusers reads them like this, too.
    return {**facts, 'prediction_type': written.get('prediction_type', 'epsilon')}


def empty_prompt(base: Path) -> Tensor:
    """The embedding of the empty prompt, not padded: beginning and end of the text, [1, 2, D].

    Raises:
        FileNotFoundError: The folder has no text encoder or no tokenizer.
        ImportError: transformers is not installed.
        CheckpointError: The tokenizer makes other than two tokens of an empty text.
    """
    encoder, tokenizer = subfolder(base, 'text_encoder'), subfolder(base, 'tokenizer')
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise ImportError(
            'transformers is needed once, for the embedding of the empty prompt: '
            "`pip install 'mmdiffdis[convert]'`; or give the embedding itself, as a file."
        ) from error
    tokens = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)('').input_ids
    if len(tokens) != 2:
        raise CheckpointError(
            f'{tokenizer} turns the empty prompt into the tokens {tokens}, expected two: '
            'beginning and end.'
        )
    model = CLIPTextModel.from_pretrained(encoder, local_files_only=True).float().eval()
    with torch.no_grad():
        return model(torch.tensor([tokens])).last_hidden_state
