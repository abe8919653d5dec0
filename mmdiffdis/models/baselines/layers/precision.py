"""Numeric precision of parts of a network."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Returns a context in which operations on tensors like `x` keep their precision.

    Operations are counted on the meta device, which autocast refuses.
    """
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)
