"""How the C library treats memory that is freed."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt(), from its header malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 2**30  # bytes
_LARGEST_KEPT_BLOCK = 2**25  # bytes; the most that glibc accepts
# By these, users set the same themselves.
_VARIABLES = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'GLIBC_TUNABLES')


def keep_freed_memory() -> bool:
    """Lets glibc keep up to 1 GiB of freed memory, in blocks of up to 32 MiB, for later use.

    On a CPU, PyTorch allocates and frees each feature map. By default, glibc returns these blocks
    to the system, which then clears every page of the next ones: a quarter of the time of a
    prediction (docs/benchmarks.md). The peak of memory is hardly changed; between predictions more
    of it is kept.

    Returns:
        Whether it was set: not without glibc, and not if the environment has settings of its own.
    """
    if sys.platform != 'linux' or any(name in os.environ for name in _VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # not in musl
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK) and mallopt(_TRIM_THRESHOLD, _KEPT))
