"""Numeric precision of the network."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}

# Blocks of `float32_products` that are open: their threads and values; and what torch had before.
_CHANGED = threading.Condition()
_OPEN: list[tuple[int, bool]] = []
_BEFORE: list = []


def dtype_of(argument: str, name: str) -> torch.dtype:
    """Returns the dtype of a precision's name.

    Args:
        argument: Name of the argument that has it, for the message.
        name: A key of `PRECISIONS`.

    Raises:
        ValueError: If there is no such precision.
    """
    if name not in PRECISIONS:
        raise ValueError(f'{argument}={name!r}: expected one of {list(PRECISIONS)}')
    return PRECISIONS[name]


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Sets how NVIDIA GPUs compute float32 convolutions and matrix products within the block.

    Torch has one setting for the whole process. Blocks of several threads overlap if they agree;
    otherwise one waits for the other.

    Args:
        tf32: True rounds the factors to TF32's 10 bits of mantissa, as torch does for convolutions
            by default; False keeps all 23.
    """
    block = threading.get_ident(), tf32
    with _CHANGED:
        _CHANGED.wait_for(lambda: all(block[0] == thread or tf32 == x for thread, x in _OPEN))
        if not _OPEN:
            _BEFORE[:] = [getattr(backend, name) for backend, name, _ in _settings(tf32)]
        _OPEN.append(block)
        for setting in _settings(tf32):
            setattr(*setting)
    try:
        yield
    finally:
        with _CHANGED:
            _OPEN.remove(block)
            settings = _settings(_OPEN[-1][1] if _OPEN else tf32)
            for (backend, name, value), before in zip(settings, _BEFORE, strict=True):
                setattr(backend, name, value if _OPEN else before)
            _CHANGED.notify_all()


def _settings(tf32: bool) -> list[tuple[object, str, str | bool]]:
    """Returns what torch sets for convolutions and matrix products: object, attribute, value."""
    if hasattr(torch.backends.cudnn, 'conv'):  # torch 2.9 and later
        backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
        return [(backend, 'fp32_precision', 'tf32' if tf32 else 'ieee') for backend in backends]
    return [(x, 'allow_tf32', tf32) for x in (torch.backends.cudnn, torch.backends.cuda.matmul)]
