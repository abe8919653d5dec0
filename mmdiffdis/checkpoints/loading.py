"""Reads checkpoints without executing them, and writes weights.

On import, these loaders replace MMEngine's, so `load_from`, `--resume`, `init_model` and
`init_cfg=dict(type='Pretrained', ...)` all read

- a local path: `.safetensors`, or a file that `torch.save` wrote. A pickle can run any program when
  it is read, so only the contents of MMEngine's own checkpoints are admitted: torch's
  `weights_only` plus a short list;
- a URL: downloaded once, and again if the file there has changed, then read like a local path;
- `mmdiffdis://NAME`: weights that are shipped with this package.

MMEngine 0.10.7 leaves `weights_only` to torch.load, whose default refuses MMEngine's own
checkpoints since torch 2.6, and to torch.hub, whose default runs what a download contains. When it
resumes, it also executes the text in `meta.config` as a config. It writes none itself, and that of
a file is dropped here. Its `Pretrained` and its runners go on with random weights where a file does
not fit; `PretrainedWeights` and `load_strictly` stop.
"""

import hashlib
import json
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
from urllib.request import Request, urlopen

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import update_init_info
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..utils.files import add_to_hash, atomic_write, save_json
from ..utils.shipped import SHIPPED_WEIGHTS, shipped_models

TRUST_VARIABLE = 'MMDIFFDIS_TRUST_CHECKPOINT'
SCHEME = 'mmdiffdis://'

_HASHED_NAME = re.compile(r'.+-([a-f0-9]{8,})\.\w+')
_PARTIALLY = '; to start from the part that fits: --cfg-options load_partially=True'
_VERSION_HEADERS = ('ETag', 'Last-Modified', 'Content-Length')


class CheckpointError(ValueError):
    """A checkpoint that is damaged, does not fit the model, or would have to be executed."""


@CheckpointLoader.register_scheme('', force=True)
def load_from_local(filename: str, map_location=None) -> dict[str, Any]:
    """Returns the contents of a local checkpoint.

    Args:
        filename: Path of a `.safetensors` file, or of one written by `torch.save`; or the name of
            a model whose weights come with the package.
        map_location: As in `torch.load`; a function or dict leaves safetensors on the CPU.

    Returns:
        The saved object; for safetensors `{'state_dict': ..., 'meta': the file's metadata}`.
        Weights that a file has under 'model_state_dict', as in PyTorch's tutorials, are under
        'state_dict'.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is empty, truncated or no checkpoint, or refers to an object that is
            no part of weights and training state; the message names the object.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        if str(filename) in shipped_models():
            return load_from_mmdiffdis(str(filename), map_location)
        raise FileNotFoundError(
            f'checkpoint {path} does not exist; expected a .safetensors or .pth file, or one of '
            f'{", ".join(shipped_models())}'
        )
    read = _read_safetensors if path.suffix == '.safetensors' else _read_pickle
    try:
        checkpoint = read(path, map_location)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if 'map_location' in str(error):  # tensors of a missing GPU: torch's message is clear
            raise
        raise CheckpointError(f'checkpoint {path} {_describe_failure(error, path)}') from error
    if isinstance(checkpoint, Mapping):
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)
        if 'state_dict' not in checkpoint and 'model_state_dict' in checkpoint:
            checkpoint['state_dict'] = checkpoint.pop('model_state_dict')
    return checkpoint


def load_from_url(
    url: str, model_dir: str | None = None, map_location=None, progress: bool = True
) -> dict[str, Any]:
    """Returns the contents of a checkpoint at a URL, read by `load_from_local`.

    Downloads are kept apart by their URLs, and each time the server is asked whether the file has
    changed; without an answer, the one that is there is taken. A file that torch has downloaded
    before is taken if its name ends in its hash.

    Args:
        url: Address that ends in the file's name.
        model_dir: Folder where downloads are kept; `None` for torch's.
        map_location: As in `load_from_local`.
        progress: Show the progress of a download.
    """
    folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    name = Path(urlparse(url).path).name
    hashed = _HASHED_NAME.fullmatch(name)
    if hashed and (folder / name).is_file():
        digest = add_to_hash(hashlib.sha256(), folder / name)
        if digest.startswith(hashed[1]):
            return load_from_local(str(folder / name), map_location)
    folder /= hashlib.sha256(url.encode()).hexdigest()[:16]
    path, record = folder / name, folder / f'{name}.json'
    version = _version_at(url)
    known = json.loads(record.read_text()) if record.is_file() else None
    if not path.is_file() or (version and version != known):
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=progress)
        try:
            weights = load_from_local(str(path), map_location)
        except CheckpointError:
            if not is_whole(path):  # or it would be taken for the checkpoint from now on
                path.unlink()
            raise
        if version:
            save_json(version, record)
        return weights
    return load_from_local(str(path), map_location)


def _version_at(url: str) -> dict[str, str] | None:
    """Returns what a server says about the version of a file; None if it does not answer."""
    try:
        with urlopen(Request(url, method='HEAD'), timeout=10) as response:
            found = {name: response.headers.get(name) for name in _VERSION_HEADERS}
    except OSError as error:
        print_log(f'{url} cannot be asked for changes: {error}', logger='current')
        return None
    return {name: value for name, value in found.items() if value} or None


def is_whole(path: str | os.PathLike) -> bool:
    """Returns whether a file written by `torch.save` is undamaged to its last byte."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_mmdiffdis(filename: str, map_location=None) -> dict[str, Any]:
    """Returns weights that are shipped with the package, e.g. 'mmdiffdis://vae_tiny'.

    Raises:
        FileNotFoundError: If no weights of that name are shipped; the message lists those that are.
    """
    name = filename.removeprefix(SCHEME)
    shipped = {path.stem: path for path in sorted(SHIPPED_WEIGHTS.glob('*.safetensors'))}
    if name not in shipped:
        known = ', '.join(SCHEME + stem for stem in shipped) or 'none'
        raise FileNotFoundError(f'{filename} is not shipped with mmdiffdis; there is: {known}')
    return load_from_local(str(shipped[name]), map_location)


def save_weights(
    model: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes weights to a `.safetensors` file, completely or not at all, and returns its path.

    Args:
        model: A module, or its state dict.
        path: File to write or to replace; missing folders are made.
        dtype: Type that floating-point tensors are converted to, e.g. `torch.float16`; `None` keeps
            theirs.
        metadata: Text stored with the weights; `load_from_local` returns it as `meta`.

    Raises:
        ValueError: If `path` does not end in `.safetensors`, or `dtype` is no floating-point type.
        TypeError: If an entry of the state dict is no tensor, or one of the metadata is no text.
    """
    path = Path(path).expanduser()
    if path.suffix != '.safetensors':
        raise ValueError(f'path={path}: expected a file name that ends in .safetensors')
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f'dtype={dtype}: expected a floating-point type such as torch.float16')
    metadata = dict(metadata or {})
    for key, text in metadata.items():
        if not isinstance(text, str):
            raise TypeError(
                f'metadata[{key!r}] is a {type(text).__name__}, expected text: try json.dumps'
            )

    state_dict = model.state_dict() if isinstance(model, nn.Module) else model
    tensors, storages = {}, set()
    for key, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f'{key!r} is a {type(tensor).__name__}, expected a tensor')
        tensor = tensor.detach().to('cpu', dtype if tensor.is_floating_point() else None)
        tensor = tensor.contiguous()
        # safetensors refuses tensors that share memory (tied weights), so each gets its own.
        storage = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if storage in storages else tensor
        storages.add(storage)

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        unfinished.touch()
        permissions = unfinished.stat().st_mode
        save_file(tensors, unfinished, metadata)
        unfinished.chmod(permissions)  # safetensors' files are readable by their owner only
    return path


def _read_safetensors(path: Path, map_location) -> dict[str, Any]:
    device = str(map_location) if isinstance(map_location, str | torch.device) else 'cpu'
    with safe_open(path, framework='pt', device=device) as file:
        return {
            'state_dict': {key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118, not a dict
            'meta': file.metadata() or {},
        }


def _read_pickle(path: Path, map_location) -> dict[str, Any]:
    if os.environ.get(TRUST_VARIABLE, '0') not in ('', '0'):
        return torch.load(path, map_location, weights_only=False)
    with torch.serialization.safe_globals(_training_state_globals()):
        return torch.load(path, map_location, weights_only=True)


def _describe_failure(error: Exception, path: Path) -> str:
    """Returns why reading a checkpoint failed with `error`, and the way out."""
    reason = str(error)
    refused = re.search(r'GLOBAL (\S+)|unrecognized function (.+)|but got (<.+)', reason)
    if isinstance(error, pickle.UnpicklingError) and refused:
        offending = next(filter(None, refused.groups()))
        return (
            f'was not loaded: it refers to `{offending}`, which is no part of weights or of a '
            'training state and could run any program; if you trust the origin of the file, set '
            f'{TRUST_VARIABLE}=1'
        )
    size = path.stat().st_size
    if size == 0:
        return 'is empty (0 bytes): copy or download it again'
    with path.open('rb') as file:
        begins_as_zip = file.read(2) == b'PK'
    if begins_as_zip and not zipfile.is_zipfile(path):
        return f'is truncated ({size} bytes are left of it): copy or download it again'
    # A text file raises LookupError: its letters are read as pickle's instructions.
    if isinstance(error, (pickle.UnpicklingError, LookupError)):
        return f'({size} bytes) is not a file written by torch.save, or is damaged'
    return f'({size} bytes) cannot be read: {reason.split(". ")[0] or type(error).__name__}'


def _training_state_globals() -> list[Callable | tuple[Callable, str]]:
    """Returns the globals of MMEngine's checkpoints beside weights: logged scalars, numpy arrays.

    The text in a pair is the name in the file. numpy 2 renamed its module; files of either version
    are read by either.
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
    """Replaces `getattr` in a checkpoint; returns public methods of `HistoryBuffer` only."""
    method = vars(HistoryBuffer).get(name)
    if owner is not HistoryBuffer or name.startswith('_') or not isinstance(method, FunctionType):
        raise pickle.UnpicklingError(
            f'GLOBAL builtins.getattr is called with {owner!r} and {name!r}'
        )
    return method


@contextmanager
def explain_misfits(
    checkpoint: str | Path, max_length: int = 1500, way_out: str = ''
) -> Iterator[None]:
    """Turns the failure of a strict loading inside the block into a `CheckpointError`.

    Args:
        checkpoint: Path of the checkpoint that is loaded, for the message.
        max_length: Characters kept of the list of missing, unexpected and misshapen keys.
        way_out: End of the message.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error)
        reason = reason if len(reason) <= max_length else f'{reason[:max_length]} ...'
        raise CheckpointError(
            f'checkpoint {checkpoint} does not fit the model of the config: {reason}{way_out}'
        ) from error


def load_strictly(runner, partially: bool = False, way_out: str = _PARTIALLY) -> None:
    """Makes a runner of MMEngine stop at a checkpoint that does not fit its model.

    Args:
        runner: Runner, changed in place.
        partially: Go on with a warning, as MMEngine does: what the checkpoint lacks keeps its
            initial values, and what has no place in the model is left out.
        way_out: End of the message; by default that of a training.

    Raises:
        CheckpointError: When it loads or resumes, if names are missing or unexpected, or shapes
            differ.
    """
    load = runner.load_checkpoint

    def load_checkpoint(filename: str, *args, **kwargs):
        with explain_misfits(filename, way_out=way_out):
            return load(filename, *args, **{**kwargs, 'strict': True})

    if not partially:
        runner.load_checkpoint = load_checkpoint


@WEIGHT_INITIALIZERS.register_module('Pretrained', force=True)
class PretrainedWeights(PretrainedInit):
    """MMEngine's `Pretrained`, which stops if the checkpoint does not fit the module.

    Modules of other packages may leave weights of the file unused, such as a classifier's. Ours
    name the beginnings of such weights in `UNUSED`.

    Args:
        checkpoint: File, URL or 'mmdiffdis://NAME'.
        prefix: Beginning of the names of the module's weights in the file, which are taken alone.
        strict: False goes on with a warning: what the file lacks keeps its initial values.
        map_location: As in `torch.load`.
    """

    def __init__(self, checkpoint, prefix=None, strict: bool = True, map_location='cpu'):
        super().__init__(checkpoint, prefix, map_location)
        self.strict = strict

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights.

        Raises:
            CheckpointError: If they do not fit.
        """
        if not self.strict:
            super().__call__(module)
            return
        print_log(f'load {self.prefix or "model"} from: {self.checkpoint}', logger='current')
        weights = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        weights = weights.get('state_dict', weights)
        weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
        prefix = f'{self.prefix.rstrip(".")}.' if self.prefix else ''
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in weights.items()
            if name.startswith(prefix)
        }
        way_out = '; to take the part that fits: init_cfg.strict=False'
        with explain_misfits(self.checkpoint, way_out=way_out):
            missing, unexpected = module.load_state_dict(weights, strict=False)
            # older files lack these counters, which are not used
            misfits = {'missing': [n for n in missing if 'num_batches_tracked' not in n]}
            if type(module).__module__.partition('.')[0] == __package__.partition('.')[0]:
                unused = getattr(module, 'UNUSED', ())
                misfits['unexpected'] = [n for n in unexpected if not n.startswith(unused)]
            found = [f'{kind}: {", ".join(names)}' for kind, names in misfits.items() if names]
            if found:
                raise RuntimeError('; '.join(found))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


# MMEngine's loader of http:// and https:// looks this function up in its module.
mmengine_checkpoint.load_url = load_from_url
