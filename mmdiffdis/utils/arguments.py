"""Models and inputs on a command line, told apart (standard library only)."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

STREAM = '-'  # standard input or output
_WEIGHTS = ('.pth', '.pt', '.ckpt', '.bin', '.safetensors')  # suffixes of checkpoints


def split_names(names: list[str], models: Sequence[str]) -> tuple[str, str | None, list[str]]:
    """Returns config, checkpoint and inputs; those that are not there are a model's of the package.

    A first name is that of a config if it ends in '.py', if a checkpoint follows, or if it is
    neither there nor looks like a file or a pattern. That of an ONNX file stands alone.

    Args:
        names: Config and checkpoint, or model, or ONNX file, or none of these, and inputs.
        models: Models that come with the package, the default first.

    Raises:
        ValueError: If there is a model, and no input.
    """
    first, second = names[0], ''.join(names[1:2])
    is_checkpoint = '://' in second or Path(second).suffix in _WEIGHTS or second in models
    is_onnx = first.endswith('.onnx')
    is_alone = is_onnx or first in models
    is_input = first == STREAM or os.path.lexists(first) or Path(first).suffix or _has_magic(first)
    is_input = is_input and not is_onnx
    if is_checkpoint or first.endswith('.py') or not (is_input or is_alone):
        if len(names) < 3:
            raise ValueError(
                f'{" ".join(names)}: expected CONFIG CKPT INPUT..., or one of '
                f'{", ".join(models)} before INPUT..., or files, folders and patterns alone'
            )
        return first, second, names[2:]
    if is_input:
        return models[0], models[0], names
    if not second:
        raise ValueError(f'{first}: expected files, folders or patterns after the name of a model')
    return first, None if is_onnx else first, names[1:]


def folder_of(name: str) -> Path:
    """Returns the folder that holds an input; of a pattern, that of its part without wildcards."""
    if os.path.lexists(name):
        return Path(name).parent
    return Path(*itertools.takewhile(lambda part: not _has_magic(part), Path(name).parts[:-1]))


def is_pattern(name: str) -> bool:
    """Returns whether an input is a glob pattern; a file may have a name that looks like one."""
    return _has_magic(name) and not os.path.lexists(name)


def _has_magic(name: str) -> bool:
    return not set(name).isdisjoint('*?[')
