"""Versions of the packages that results may depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

from ..version import __version__

# What figures may depend on.
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
    """Versions of Python, this package and those that figures may depend on."""
    found = {'python': platform.python_version(), 'mmdiffdis': __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # there is mmcv or mmcv-lite
    return found
