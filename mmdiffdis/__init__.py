"""DiffDIS for MMSegmentation: one-step diffusion for dichotomous image segmentation.

Importing the package checks the OpenMMLab stack, applies the compatibility patches and registers
every component in MMSegmentation's registries; a config asks for that with
`custom_imports = dict(imports=['mmdiffdis'])`.
"""

from ._compat import apply, check_environment
from .version import __version__

check_environment()
apply()

from . import checkpoints, datasets, engine, evaluation, models  # noqa: E402, F401

__all__ = ['__version__']
