"""Reads checkpoints for MMEngine, and writes weights.

In the place of MMEngine's own loader (`_compat.apply` sees to it), so that `load_from`, `--resume`,
`init_cfg=dict(type='Pretrained', ...)` and `init_model` all come here, with

- a local path: `.safetensors`, or whatever `torch.save` wrote. A pickle can run any program when it
  is read, so only what MMEngine's own checkpoints consist of is admitted: torch's `weights_only`,
  plus a short list;
- a URL: downloaded once, then read like a local path;
- `mmdiffdis://NAME`: the weights that are shipped with this package.

MMEngine runs the text that it finds as `meta.config` when it resumes, as a config. It writes none
itself, and what a file holds there is left out.
"""

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..utils.files import atomic_write

TRUST_VARIABLE = 'MMDIFFDIS_TRUST_CHECKPOINT'
SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / 'weights'
SCHEME = 'mmdiffdis://'


class CheckpointError(ValueError):
    """A checkpoint is damaged, or holds what would have to be executed."""


def load_from_local(filename: str, map_location=None) -> dict[str, Any]:
    """The contents of a local checkpoint.

    Args:
        filename: Path of a `.safetensors` file, or of one written by `torch.save`.
        map_location: As in `torch.load`; a function or dict leaves safetensors on the CPU.

    Returns:
        What was saved; for safetensors `{'state_dict': ..., 'meta': the file's metadata}`.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is empty, truncated or no checkpoint; or it refers to more than weights
            and training state consist of, and the message names what.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'checkpoint {path} does not exist; expected a .safetensors or .pth file.'
        )
    read = _read_safetensors if path.suffix == '.safetensors' else _read_pickle
    try:
        checkpoint = read(path, map_location)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if 'map_location' in str(error):  # a GPU's tensors where there is none: torch says it well
            raise
        raise CheckpointError(f'checkpoint {path} {_explain(error, path)}') from error
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def load_from_url(
    url: str, model_dir: str | None = None, map_location=None, progress: bool = True
) -> dict[str, Any]:
    """The contents of a checkpoint at a URL, as :func:`load_from_local` reads them.

    Args:
        url: Its path ends in the file's name.
        model_dir: Where downloads are kept; `None`: torch's folder.
        map_location: As in `load_from_local`.
        progress: Show the progress of a download.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    path = folder / Path(urlparse(url).path).name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    return load_from_local(str(path), map_location)


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a file that `torch.save` wrote is undamaged, to its last byte."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_mmdiffdis(filename: str, map_location=None) -> dict[str, Any]:
    """The contents of weights shipped with the package, e.g. 'mmdiffdis://vae_tiny'.

    Raises:
        FileNotFoundError: No weights of that name are shipped; the message lists those that are.
    """
    name = filename.removeprefix(SCHEME)
    shipped = {path.stem: path for path in sorted(SHIPPED_WEIGHTS.glob('*.safetensors'))}
    if name not in shipped:
        known = ', '.join(SCHEME + stem for stem in shipped) or 'none'
        raise FileNotFoundError(f'{filename} is not shipped with mmdiffdis; there is: {known}.')
    return load_from_local(str(shipped[name]), map_location)


def save_weights(
    model: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes weights to a `.safetensors` file, whole or not at all, and returns its path.

    Args:
        model: A module, or its state dict.
        path: The file to write or to replace; missing folders are made.
        dtype: What floating-point tensors are converted to, e.g. `torch.float16`; `None`: nothing.
        metadata: Text to keep with the weights; `load_from_local` returns it as `meta`.

    Raises:
        ValueError: `path` does not end in `.safetensors`, or `dtype` is not a floating-point one.
        TypeError: An entry of the state dict is not a tensor, or one of the metadata not text.
    """
    path = Path(path).expanduser()
    if path.suffix != '.safetensors':
        raise ValueError(f'got {path}, expected a file name that ends in .safetensors.')
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(
            f'got dtype={dtype}, expected a floating-point type such as torch.float16.'
        )
    metadata = dict(metadata or {})
    for key, text in metadata.items():
        if not isinstance(text, str):
            raise TypeError(
                f'got {type(text).__name__} as metadata {key!r}, expected text: try json.dumps.'
            )

    state_dict = model.state_dict() if isinstance(model, nn.Module) else model
    tensors, storages = {}, set()
    for key, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f'got {type(tensor).__name__} for {key!r}, expected a tensor.')
        tensor = tensor.detach().to('cpu', dtype if tensor.is_floating_point() else None)
        tensor = tensor.contiguous()
        # safetensors refuses tensors that share memory (tied weights): each is written on its own.
        storage = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if storage in storages else tensor
        storages.add(storage)

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.touch()
        permissions = unfinished.stat().st_mode
        save_file(tensors, unfinished, metadata)
        unfinished.chmod(permissions)  # safetensors lets nobody but the owner read its files
    return path


def _read_safetensors(path: Path, map_location) -> dict[str, Any]:
    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    with safe_open(path, framework='pt', device=device) as file:
        return {
            'state_dict': {key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118, it is no dict
            'meta': file.metadata() or {},
        }


def _read_pickle(path: Path, map_location) -> dict[str, Any]:
    if os.environ.get(TRUST_VARIABLE, '0') not in ('', '0'):
        return torch.load(path, map_location, weights_only=False)
    with torch.serialization.safe_globals(_training_state_globals()):
        return torch.load(path, map_location, weights_only=True)


def _explain(error: Exception, path: Path) -> str:
    """What is wrong with the checkpoint whose reading raised `error`, and the way out."""
    reason = str(error)
    refused = re.search(r'GLOBAL (\S+)|unrecognized function (.+)|but got (<.+)', reason)
    if isinstance(error, pickle.UnpicklingError) and refused:
        offending = next(filter(None, refused.groups()))
        return (
            f'was not loaded: it refers to `{offending}`, which is no part of weights or of a '
            'training state and could run any program. '
            f'If you trust the origin of the file, set {TRUST_VARIABLE}=1.'
        )
    size = path.stat().st_size
    if size == 0:
        return 'is empty (0 bytes): copy or download it again.'
    with path.open('rb') as file:
        begins_as_zip = file.read(2) == b'PK'
    if begins_as_zip and not zipfile.is_zipfile(path):
        return f'is truncated ({size} bytes are left of it): copy or download it again.'
    # LookupError: of a text, whose letters are taken for pickle's instructions
    if isinstance(error, (pickle.UnpicklingError, LookupError)):
        return f'({size} bytes) is not a file written by torch.save, or is damaged.'
    return f'({size} bytes) cannot be read: {reason.split(". ")[0] or type(error).__name__}.'


def _training_state_globals() -> list[Callable | tuple[Callable, str]]:
    """What MMEngine's checkpoints refer to beside weights: logged scalars and numpy arrays.

    In a pair, the text is the name in the file. numpy 2 renamed its module, and a file written with
    either version is to be read with either.
    """
    rebuild_array, (rebuild_scalar, _) = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()
    return [
        HistoryBuffer,
        (_history_buffer_method, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
        *(
            (rebuild_array, f'{core}.multiarray._reconstruct')
            for core in ('numpy.core', 'numpy._core')
        ),
        *((rebuild_scalar, f'{core}.multiarray.scalar') for core in ('numpy.core', 'numpy._core')),
    ]


def _history_buffer_method(owner: type, name: str) -> FunctionType:
    """Takes the place of `getattr` in a checkpoint: a public method of `HistoryBuffer`, only."""
    method = vars(HistoryBuffer).get(name)
    if owner is not HistoryBuffer or name.startswith('_') or not isinstance(method, FunctionType):
        raise pickle.UnpicklingError(
            f'GLOBAL builtins.getattr is called with {owner!r} and {name!r}'
        )
    return method


@contextmanager
def misfits_named(checkpoint: str | Path, longest: int = 1500) -> Iterator[None]:
    """Turns the failure of a strict loading inside the block into a ``CheckpointError``.

    Args:
        checkpoint: what is loaded.
        longest: characters kept of the list of missing, unexpected and misshapen keys.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error)
        reason = reason if len(reason) <= longest else f'{reason[:longest]} ...'
        raise CheckpointError(
            f'checkpoint {checkpoint} does not fit the model of the config: {reason}'
        ) from error
