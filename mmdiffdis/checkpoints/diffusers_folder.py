"""Reads folders in diffusers' layout: unet/, vae/, scheduler/, text_encoder/ and tokenizer/.

Tensors and settings are returned as written; nothing is executed or converted.
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
# The files of a repository that are read here; it has many other variants.
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
    """Returns the folder of a pretrained Stable Diffusion.

    Args:
        pretrained: A folder, or the id of a repository of the Hugging Face hub, 'owner/name', whose
            needed files are downloaded or taken from the hub's cache. A path that begins with '.',
            '/' or '~' is never taken for an id.
        option: Command-line option that sets it, for the messages.

    Raises:
        FileNotFoundError: If it is neither a folder nor a repository that can be fetched.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir():
        return folder
    if folder.suffix in ('.safetensors', '.ckpt', '.bin', '.pt', '.pth'):
        is_there = 'is a single file' if folder.is_file() else 'does not exist'
        raise FileNotFoundError(
            f'{pretrained} {is_there}: expected a folder with unet/, vae/, scheduler/, '
            'text_encoder/ and tokenizer/. With diffusers, transformers and a network, a single '
            'file of Stable Diffusion becomes one: python -c "from diffusers import '
            'StableDiffusionPipeline as P; '
            f"P.from_single_file('{folder}').save_pretrained('{folder.with_suffix('')}')\"; "
            f'then {option}={folder.with_suffix("")}'
        )
    if not _HUB_ID.fullmatch(str(pretrained)):
        raise FileNotFoundError(
            f'{pretrained} is not a folder; expected one with unet/, vae/, scheduler/, '
            "text_encoder/ and tokenizer/ as diffusers writes them, or a hub id, 'owner/name': "
            f'{option}=...'
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(pretrained, allow_patterns=_HUB_PATTERNS))
    except Exception as error:  # the client and its transport raise many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileNotFoundError(
            f'{pretrained} is not a folder, and could not be fetched from the Hugging Face hub '
            f'({reason[0]}); download it elsewhere and pass the folder: {option}=FOLDER'
        ) from error


def subfolder(base: Path, name: str) -> Path:
    """Returns `base/name`.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not (base / name).is_dir():
        raise FileNotFoundError(
            f'{base} has no {name}/; expected a folder as diffusers writes it, with unet/, vae/, '
            'scheduler/, text_encoder/ and tokenizer/'
        )
    return base / name


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Returns the tensors of a file, or of a model's folder that `save_pretrained` wrote.

    Raises:
        FileNotFoundError: If there is no such file or folder, no weights in it, or a shard is
            missing.
        CheckpointError: If a file is damaged, holds more than tensors, or is a pickle that would
            have to be executed (see `load_from_local`), or if the shards are not complete.
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
    raise FileNotFoundError(f'no weights in {path}; expected {_WEIGHTS[0]}, or its index of shards')


def _read_file(path: Path) -> dict[str, Tensor]:
    content = load_from_local(str(path), 'cpu')
    if isinstance(content, Tensor):  # a file with the prompt embedding alone
        return {'prompt': content}
    content = content.get('state_dict', content) if isinstance(content, Mapping) else {'': content}
    for key, value in content.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f'{path} holds {type(value).__name__} for {key!r}, expected nothing but tensors'
            )
    return dict(content)


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index)['weight_map']
    files = sorted(set(weight_map.values()))
    if any(Path(name).name != name for name in files):  # do not leave the folder
        raise CheckpointError(f'{index} names files in other folders: {files}')
    weights = {
        key: tensor for name in files for key, tensor in _read_file(index.parent / name).items()
    }
    if set(weights) != set(weight_map):
        differing = sorted(set(weights) ^ set(weight_map))
        raise CheckpointError(
            f'{index} and its shards do not agree on {len(differing)} keys: {differing[:4]}'
        )
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """Returns the contents of a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; diffusers writes it beside the weights')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CheckpointError(f'{path} is not JSON: {error}') from error


def read_settings(folder: Path) -> dict[str, Any]:
    """Returns a model's `config.json`; empty if the folder has the weights alone."""
    path = folder / 'config.json'
    return read_json(path) if path.is_file() else {}


def read_scheduler(base: Path) -> dict[str, Any]:
    """Returns number of timesteps, first and last beta and prediction type of a folder's scheduler.

    Raises:
        FileNotFoundError: If the folder has no scheduler.
        CheckpointError: If its betas are not scaled-linear, or not given.
    """
    path = subfolder(base, 'scheduler') / 'scheduler_config.json'
    config = read_json(path)
    settings = {key: config.get(key) for key in ('num_train_timesteps', 'beta_start', 'beta_end')}
    unsupported = {key: config.get(key) for key in ('trained_betas', 'rescale_betas_zero_snr')}
    if (
        config.get('beta_schedule') != 'scaled_linear'
        or any(unsupported.values())
        or None in settings.values()
    ):
        raise CheckpointError(
            f'{path} has beta_schedule={config.get("beta_schedule")!r}, {settings}, {unsupported}; '
            'expected the scaled-linear betas of Stable Diffusion'
        )
    # diffusers' default, for folders that are older than the setting
    return {**settings, 'prediction_type': config.get('prediction_type', 'epsilon')}


def empty_prompt(base: Path) -> Tensor:
    """Returns the embedding [1, 2, D] of the empty prompt: beginning and end token, not padded.

    Raises:
        FileNotFoundError: If the folder has no text encoder or no tokenizer.
        ImportError: If transformers is not installed.
        CheckpointError: If the tokenizer does not turn an empty text into two tokens.
    """
    encoder, tokenizer = subfolder(base, 'text_encoder'), subfolder(base, 'tokenizer')
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise ImportError(
            'transformers is needed once, for the embedding of the empty prompt: '
            "`pip install 'mmdiffdis[convert]'`; or pass a file with the embedding"
        ) from error
    tokens = CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True)('').input_ids
    if len(tokens) != 2:
        raise CheckpointError(
            f'{tokenizer} turns the empty prompt into the tokens {tokens}, expected two: '
            'beginning and end'
        )
    model = CLIPTextModel.from_pretrained(encoder, local_files_only=True).float().eval()
    with torch.no_grad():
        return model(torch.tensor([tokens])).last_hidden_state
