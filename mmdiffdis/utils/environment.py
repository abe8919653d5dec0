"""Versions of the packages that results may depend on."""

import platform
from importlib.metadata import PackageNotFoundError, version

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
