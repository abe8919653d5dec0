"""Random numbers that are a function of a seed and of what they are for, not of what came before.

A training whose every draw is made so repeats itself, and goes on after an interruption as if there
had been none, without a generator's state in its checkpoints.
"""

import hashlib
import random

import numpy as np
import torch


def seed_words(*parts: int | str) -> np.ndarray:
    """Four uint32 that stand for `parts`, e.g. a seed, a purpose and a step."""
    # names of files on Linux may be no UTF-8; Python keeps such bytes as surrogates
    name = '/'.join(map(str, parts)).encode(errors='surrogateescape')
    return np.frombuffer(hashlib.blake2b(name, digest_size=16).digest(), np.uint32)


def seed_streams(*parts: int | str) -> None:
    """Seeds the global generators of Python, NumPy and torch (on every device) from `parts`."""
    words = seed_words(*parts)
    random.seed(words.tobytes())
    np.random.seed(words)
    torch.manual_seed(int(words[:2].view(np.uint64)[0]))
