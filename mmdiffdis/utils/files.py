"""Files that are written whole or not at all."""

import json
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what is there takes its place when the block succeeds.

    It has the suffix of `path`, from which many writers take the format; its name is hidden.
    """
    unfinished = path.with_name(f'.{os.getpid()}.{path.name}')
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def save_json(content: dict, path: Path) -> None:
    """Writes `content` to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, default=str) + '\n'
    with whole_or_nothing(path) as unfinished:
        unfinished.write_text(text, encoding='utf-8')


def stem_of(path: str | Path) -> str:
    """Returns the file name without folder and suffix, composed (NFC).

    macOS decomposes file names, other systems do not. The stem selects the inference noise and
    pairs images with masks, so that the same name must give the same stem everywhere.
    """
    return unicodedata.normalize('NFC', Path(path).stem)
