"""Numeric precision of the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


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

    Args:
        tf32: True rounds the factors to TF32's 10 bits of mantissa, as torch does for convolutions
            by default; False keeps all 23.
    """
    if hasattr(torch.backends.cudnn, 'conv'):  # torch 2.9 and later
        backends = torch.backends.cudnn.conv, torch.backends.cuda.matmul
        name, value = 'fp32_precision', 'tf32' if tf32 else 'ieee'
    else:
        backends = torch.backends.cudnn, torch.backends.cuda.matmul
        name, value = 'allow_tf32', tf32
    before = [getattr(backend, name) for backend in backends]
    try:
        for backend in backends:
            setattr(backend, name, value)
        yield
    finally:
        for backend, value_before in zip(backends, before, strict=True):
            setattr(backend, name, value_before)
