"""What `tools/` share: from a command line to a config, short errors, and records of results."""

import argparse
import gc
import json
import multiprocessing
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.config.utils import ConfigParsingError
from mmengine.device import get_device
from mmengine.runner import Runner

from .checkpoints import CheckpointError
from .files import whole_or_nothing
from .version import __version__

TRACEBACK_VARIABLE = 'MMDIFFDIS_TRACEBACK'

# What figures may depend on.
PACKAGES = (
    'torch',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmsegmentation',
    'diffusers',
    'numpy',
    'opencv-python',
)

# Configs may hold more than the arguments of `Runner`; these are read from `Runner.cfg`.
_OTHER_CONFIG_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}

# What mistakes in a config or on the command line raise while the config is read and the runner
# and its parts are built, and while they run.
BUILD_ERRORS = (
    AssertionError,
    ConfigParsingError,
    ImportError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)
RUN_ERRORS = (CheckpointError, FloatingPointError, ImportError, OSError)


@contextmanager
def one_line_errors(kinds: tuple[type[Exception], ...] = BUILD_ERRORS) -> Iterator[None]:
    """Ends the program with one line, not a traceback, if the block raises one of `kinds`."""
    try:
        yield
    except kinds as error:
        if os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0'):
            raise
        sys.exit(
            f'{Path(sys.argv[0]).name}: error: {_describe(error)} '
            f'({TRACEBACK_VARIABLE}=1 shows where it was raised)'
        )


def _describe(error: BaseException) -> str:
    while str(error).startswith('Failed to import'):  # in which MMEngine wraps the reason
        reason = error.__cause__ or error.__context__
        if reason is None:
            break
        error = reason
    if isinstance(error, KeyError) and error.args:
        lines = [str(error.args[0])]  # str() of a KeyError puts it in quotes
    else:
        lines = str(error).strip().splitlines() or [repr(error)]
    if any('Traceback (most recent call last)' in line for line in lines):
        lines = lines[-1:]  # from a data loader's worker: its traceback, then what it raised
    return ' '.join(line.strip() for line in lines)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --work-dir, --cfg-options and --launcher."""
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='where logs and checkpoints go (default: work_dir of the config, or else '
        "work_dirs/ and the config's name)",
    )
    add_cfg_options(parser)
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    # Older launchers pass the rank as an argument instead of in the environment.
    parser.add_argument('--local_rank', '--local-rank', type=int, help=argparse.SUPPRESS)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Adds --cfg-options."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        type=_key_and_value,
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.batch_size=2 '
        'model.neck.interaction=None',
    )


def _key_and_value(text: str) -> str:
    if '=' not in text.strip('='):
        raise argparse.ArgumentTypeError(f'got {text!r}, expected KEY=VALUE')
    return text


def load_config(
    path: str,
    work_dir: str | None = None,
    options: dict[str, Any] | None = None,
    fragments: Sequence[Path] = (),
) -> Config:
    """The config of a file, with a `work_dir` and with fragments and `options` merged in.

    Args:
        path: A config file.
        work_dir: `None` keeps the config's, or else takes `work_dirs/` and the file's stem.
        options: Dotted keys and their values, as `--cfg-options` gives them.
        fragments: Config files with what is to be changed, such as `configs/_base_/options/*.py`;
            MMEngine's inheritance would refuse two that set the same key.

    Raises:
        FileNotFoundError: `path` is no file.
        ValueError: An option's key begins with what neither the config nor `Runner` knows.
    """
    if not Path(path).is_file():
        what = 'is a folder' if Path(path).is_dir() else 'does not exist'
        raise FileNotFoundError(f'config {path} {what}; expected a config file, e.g. a .py file.')
    config = Config.fromfile(path)
    for fragment in fragments:
        config.merge_from_dict(Config.fromfile(fragment).to_dict())
    known = {*config, *signature(Runner.__init__).parameters, *_OTHER_CONFIG_KEYS} - {'self'}
    for key in options or {}:
        first = key.split('.')[0]
        if first not in known:
            near = get_close_matches(first, known, n=1)
            hint = (
                f'did you mean {near[0]}?' if near else f'there are: {", ".join(sorted(config))}.'
            )
            raise ValueError(f'unknown key {first} in --cfg-options {key}; {hint}')
    config.merge_from_dict(options or {})
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{Path(path).stem}'
    return config


def set_launcher(config: Config, launcher: str, local_rank: int | None = None) -> None:
    """Makes `config` run in the processes that `launcher` started, with or without GPUs.

    MMEngine selects a CUDA device in every launched process. Where there is none, the process group
    is made here, with gloo, the model is wrapped without devices, and `sync_bn` is left out.

    Raises:
        ValueError: `launcher` is 'slurm' or 'mpi', and there is no GPU.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank or 0))
    if launcher == 'none' or get_device() != 'cpu':
        return
    if launcher != 'pytorch':
        raise ValueError(
            f'got --launcher {launcher}, but without a GPU only --launcher pytorch works.'
        )
    torch.distributed.init_process_group('gloo')
    config.pop('sync_bn', None)  # torch has it for GPUs only
    wrapper = config.setdefault('model_wrapper_cfg', ConfigDict())
    wrapper.setdefault('type', 'MMDistributedDataParallel')
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.device_ids = None


def leave_process_group() -> None:
    """Ends what launched processes communicate by, when all is done and the model is not needed.

    A thread of it that is left when the program ends may abort it (pytorch#190489). Not for a
    process that failed: it would wait for others that wait for it.
    """
    if torch.distributed.is_initialized():
        gc.collect()  # models of the past, which hold the group
        torch.distributed.destroy_process_group()


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes, with one thread of OpenCV each, that end with this one.

    OpenCV has one thread here, too, from then on: others would not survive a fork, and the
    processes would wait for them.
    """
    cv2.setNumThreads(1)
    return ProcessPoolExecutor(workers, initializer=_start_worker)


def _start_worker() -> None:
    """Python leaves a pool's processes waiting for ever when their parent is killed.

    And Ctrl-C reaches them, too, while it is for the parent to say what follows.
    """
    cv2.setNumThreads(1)  # of a process that was not forked
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def save_json(content: dict, path: Path) -> None:
    """Writes `content` to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, default=str) + '\n'
    with whole_or_nothing(path) as unfinished:
        unfinished.write_text(text, encoding='utf-8')


def versions() -> dict[str, str]:
    """Versions of Python, this package and those that figures may depend on."""
    found = {'python': platform.python_version(), 'mmdiffdis': __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # there is mmcv or mmcv-lite
    return found
