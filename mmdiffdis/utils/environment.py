"""Versions of packages that results may depend on, and what this machine computes how fast."""

import platform
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from ..version import __version__

PACKAGES = (
    'torch',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmsegmentation',
    'diffusers',
    'numpy',
    'opencv-python',
)


def versions() -> dict[str, str]:
    """Returns the versions of Python, of this package and of the installed `PACKAGES`."""
    found = {'python': platform.python_version(), 'mmdiffdis': __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # only one of mmcv and mmcv-lite is installed
    return found


@cache
def is_emulated(dtype: torch.dtype) -> bool:
    """Returns whether a convolution takes this CPU more than twice the time of float32.

    CPUs without instructions for a half precision emulate it, up to a hundred times as slowly.
    """
    seconds = {}
    for kind in (torch.float32, dtype):
        x, weight = torch.ones(4, 32, 32, 32, dtype=kind), torch.ones(32, 32, 3, 3, dtype=kind)
        times = []
        for _ in range(4):  # the first call is for set-up
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, padding=1)
            times.append(time.perf_counter() - start)
        seconds[kind] = min(times[1:])
    return seconds[dtype] > 2 * seconds[torch.float32]


def check_compiler(device: torch.device | str) -> None:
    """Compiles a function for a device.

    Raises:
        ValueError: If `torch.compile` does not work here, e.g. because there is no C++ compiler.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch's compiler has many kinds, and none is public
        reason = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise ValueError(
            f'torch.compile does not work on {device} ({reason.strip()}): install a compiler '
            '(g++ for CPUs; gcc and triton for GPUs), or leave compilation out'
        ) from error
