"""DiffDIS for MMSegmentation: one-step diffusion for dichotomous image segmentation.

Importing the package checks the OpenMMLab stack, applies the compatibility patches and registers
every component in MMSegmentation's registries; a config asks for that with
`custom_imports = dict(imports=['mmdiffdis'])`.
"""

from importlib import import_module
from importlib.util import find_spec

from ._compat import apply, check_environment
from .version import __version__

check_environment()
apply()

for _name in ('checkpoints', 'models', 'datasets', 'evaluation', 'visualization'):
    if find_spec(f'{__name__}.{_name}') is not None:
        import_module(f'{__name__}.{_name}')

__all__ = ['__version__']
