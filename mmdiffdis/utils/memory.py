"""Setting of glibc, the C library: freed memory stays with the process."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt(), from its header malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_KEPT = 2**30  # bytes
# By these, users set the same themselves.
_VARIABLES = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_MAX_', 'GLIBC_TUNABLES')


def keep_freed_memory() -> bool:
    """Lets glibc keep freed memory for the next allocation instead of returning it to the system.

    On a CPU, PyTorch allocates and frees each feature map. By default glibc returns large blocks at
    once, and the system clears every page of the next ones: 6 to 29 % of the time of a prediction
    (docs/benchmarks.md). Here up to 1 GiB at the end of the heap stays with the process.

    It changes the whole process, so it is for programs to call, not for libraries.

    Returns:
        Whether it was set: not without glibc, and not if the environment has settings of its own.
    """
    if sys.platform != 'linux' or any(name in os.environ for name in _VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # not in musl
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _KEPT))
