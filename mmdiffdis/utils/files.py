"""Atomic writing, checks before it, locks, settings beside results, and stems of file names."""

import errno
import hashlib
import json
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

UNFINISHED = '.unfinished-'  # how names of temporary files begin


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path that replaces `path` when the block succeeds.

    If the block fails, `path` is left as it was. The temporary file is hidden, lies in the same
    folder and has the same suffix, from which many writers take the format. No other process has
    one of the same name, in another container neither.
    """
    temporary = path.with_name(f'{UNFINISHED}{uuid4().hex}{path.suffix}')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(*paths: Path) -> None:
    """Makes the folders of files that will be written, and tries to write there.

    For the start of a long computation, whose results would be lost otherwise.

    Raises:
        IsADirectoryError: If a path is a folder.
        OSError: If a folder cannot be made or written to.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"'{path}' is a folder: expected the name of a file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent) as file:
                file.write(bytes(4096))
        except OSError as error:
            raise type(error)(
                error.errno, f'{error.strerror}; choose another --out', str(path.parent)
            ) from error


def is_disk_full(error: BaseException) -> bool:
    """Returns whether an error means that no file can be written: no space, quota, read-only."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, OSError) and error.errno in codes


def refuse_folder_of_inputs(out: Path, inputs: Iterable[Path]) -> None:
    """Refuses a folder for results that is a folder of inputs.

    Repeated, the command would take its results for inputs.

    Raises:
        ValueError: If `out` is one of `inputs`, by whatever path.
    """
    for folder in inputs:
        if folder.is_dir() and out.is_dir() and folder.samefile(out):
            raise ValueError(f"--out '{out}' is a folder of inputs: choose another")


def lock(path: Path) -> IO | None:
    """Locks a file, made if needed, until this process ends, however it does, or closes the result.

    Within one process there is no lock. None where the system or the disk has no locks.

    Raises:
        BlockingIOError: If another process has locked it.
    """
    if fcntl is None:
        return None
    file = path.open('a')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not inherited by forked workers
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise BlockingIOError(f'{path} is locked by another process') from error
    except OSError:  # a disk without locks
        file.close()
        return None
    return file


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keeps other processes that lock a folder out of it during the block; makes the folder.

    Raises:
        BlockingIOError: If another process has locked the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = lock(folder / '.lock')
    except BlockingIOError as error:
        raise BlockingIOError(
            f"another process is writing to '{folder}': wait for its end, or choose another --out"
        ) from error
    try:
        yield
    finally:
        if file:
            file.close()


def add_to_hash(total: 'hashlib._Hash', path: Path) -> str:
    """Adds a file's contents to a hash, in parts; returns its hexadecimal digest."""
    with path.open('rb') as file:
        while part := file.read(2**20):
            total.update(part)
    return total.hexdigest()


def save_json(content: dict, path: Path) -> None:
    """Writes `content` to `path` atomically; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, default=str) + '\n'
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def record_settings(settings: dict, folder: Path) -> None:
    """Writes `settings` to `folder`/settings.json, or checks that they are those recorded there.

    Raises:
        ValueError: If the folder holds results of other settings.
    """
    path = folder / 'settings.json'
    if not path.exists():
        save_json(settings, path)
        return
    recorded = json.loads(path.read_text(encoding='utf-8'))
    settings = json.loads(json.dumps(settings, default=str))
    changed = sorted(key for key in recorded | settings if recorded.get(key) != settings.get(key))
    if changed:
        raise ValueError(
            f'{folder} holds results of other settings: {", ".join(changed)} changed (see '
            'settings.json there); choose another folder, or remove it'
        )


def stem_of(path: str | Path) -> str:
    """Returns the file name without folder and suffix, composed (NFC).

    macOS decomposes file names, other systems do not. The stem selects the inference noise and
    pairs images with masks, so that the same name must give the same stem everywhere.
    """
    return unicodedata.normalize('NFC', printable(Path(path).stem))


def printable(name: str) -> str:
    """Returns a file name as text; bytes that are not UTF-8, as in some archives, as in `b'\\xe9'`.

    Python holds such bytes as surrogates, which can be neither encoded nor printed.

    Example:
        >>> print(printable(os.fsdecode(b'caf\\xe9.jpg')))
        caf\\xe9.jpg
    """
    return os.fsencode(name).decode('utf-8', 'backslashreplace')
