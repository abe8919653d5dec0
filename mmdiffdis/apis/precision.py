"""What the network computes in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def dtype_of(argument: str, name: str) -> torch.dtype:
    """The dtype of a precision's name, given as some argument.

    Raises:
        ValueError: if there is none of this name.
    """
    if name not in PRECISIONS:
        raise ValueError(f"`{argument}` is '{name}', expected one of {list(PRECISIONS)}.")
    return PRECISIONS[name]


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Within the block, NVIDIA GPUs compute convolutions and matrix products of float32 as told.

    Args:
        tf32: from factors rounded to TF32's 10 bits of mantissa, as torch does for convolutions if
            nothing is said; False: from all 23.
    """
    if hasattr(torch.backends.cudnn, 'conv'):  # torch 2.9 and later
        kinds = torch.backends.cudnn.conv, torch.backends.cuda.matmul
        name, value = 'fp32_precision', 'tf32' if tf32 else 'ieee'
    else:
        kinds = torch.backends.cudnn, torch.backends.cuda.matmul
        name, value = 'allow_tf32', tf32
    before = [getattr(kind, name) for kind in kinds]
    try:
        for kind in kinds:
            setattr(kind, name, value)
        yield
    finally:
        for kind, own in zip(kinds, before, strict=True):
            setattr(kind, name, own)
