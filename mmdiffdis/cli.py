"""Errors in one line, and arguments that the tools share."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import DictAction
from mmengine.config.utils import ConfigParsingError

from .checkpoints import CheckpointError

TRACEBACK_VARIABLE = 'MMDIFFDIS_TRACEBACK'

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


# `add_config_arguments`, `add_cfg_options` and `_key_and_value`: removed when no tool imports them.
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
