"""Errors of the command line, reported in one line."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config.utils import ConfigParsingError

from .checkpoints import CheckpointError
from .images.reading import ImageError

TRACEBACK_VARIABLE = 'MMDIFFDIS_TRACEBACK'

# Raised by mistakes in a config or on the command line while the config is read and the runner and
# its parts are built.
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
# Raised by such mistakes, and by damaged files, while they run.
RUN_ERRORS = (CheckpointError, FloatingPointError, ImageError, ImportError, OSError)


@contextmanager
def one_line_errors(kinds: tuple[type[Exception], ...] = BUILD_ERRORS) -> Iterator[None]:
    """Ends the program with one line, not a traceback, if the block raises one of `kinds`.

    It ends so at Ctrl-C as well, with the exit code of shells. From then on, characters that the
    console's encoding lacks are printed as escapes.
    """
    if hasattr(sys.stdout, 'reconfigure'):  # not in notebooks
        sys.stdout.reconfigure(errors='backslashreplace')  # as Python does with stderr
    try:
        yield
    except KeyboardInterrupt:
        print(f'\n{Path(sys.argv[0]).name}: interrupted', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except kinds as error:
        if os.environ.get(TRACEBACK_VARIABLE, '0') not in ('', '0'):
            raise
        sys.exit(
            f'{Path(sys.argv[0]).name}: error: {_describe(error)} '
            f'({TRACEBACK_VARIABLE}=1 shows where it was raised)'
        )


def _describe(error: BaseException) -> str:
    """Returns the text of an error in one line."""
    while str(error).startswith('Failed to import'):  # MMEngine wraps the reason in it
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
