"""DiffDIS for MMSegmentation: one-step diffusion for dichotomous image segmentation.

Importing the package checks the OpenMMLab stack, applies the compatibility patches and registers
every component in MMSegmentation's registries; a config asks for that with
`custom_imports = dict(imports=['mmdiffdis'])`.
"""

from ._compat import add_config_scheme, apply, check_environment, leave_absent_backend
from .version import __version__

leave_absent_backend()
check_environment()
apply()
add_config_scheme()

from . import checkpoints, datasets, engine, evaluation, models  # noqa: E402, F401

__all__ = ['__version__']
