"""Random streams derived from a seed and a purpose, independent of earlier draws.

A training that seeds every draw in this way is repeatable, and resumes exactly without the
generators' states in its checkpoints.
"""

import hashlib
import random

import numpy as np
import torch


def seed_words(*parts: int | str) -> np.ndarray:
    """Returns a hash of `parts`, e.g. a seed, a purpose and a step, as four uint32.

    Example:
        >>> seed_words(0, 'iteration', 7)
        array([3310452745,  694350399, 1015461627, 2184420142], dtype=uint32)
    """
    # file names on Linux need not be UTF-8; Python keeps such bytes as surrogates
    name = '/'.join(map(str, parts)).encode(errors='surrogateescape')
    return np.frombuffer(hashlib.blake2b(name, digest_size=16).digest(), np.uint32)


def seed_streams(*parts: int | str) -> None:
    """Seeds the global generators of Python, NumPy and torch (on every device) from `parts`."""
    words = seed_words(*parts)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int(words[:2].view(np.uint64)[0]))
