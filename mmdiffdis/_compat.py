"""Makes MMEngine 0.10.7, mmcv-lite 2.1.0 and MMSegmentation 1.2.2 work on a current Python stack.

`apply()` runs on `import mmdiffdis`, whether or not OpenMMLab's packages were imported before. A
patch does nothing where it is not needed: with the full mmcv, with a setuptools that still has
pkg_resources, on Python before 3.14, or with a release that is fixed upstream.
`MMDIFFDIS_NO_COMPAT=1` in the environment switches all of them off.
"""

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import NoReturn

from .utils.shipped import CONFIGS

NO_COMPAT_VARIABLE = 'MMDIFFDIS_NO_COMPAT'

STUB_DOC = 'Stub of the compiled operators of mmcv.'

# mmcv and mmcv-lite install into the same folder, so both are uninstalled first.
_REINSTALL_MMCV = 'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0'
_INSTALL = {
    'mmengine': "pip install 'mmengine>=0.10.7,<1'",
    'mmcv': 'pip install mmcv-lite==2.1.0',
    'mmseg': "pip install 'mmsegmentation==1.2.*'",
}


def check_environment() -> None:
    """Raises ImportError unless MMEngine, mmcv and MMSegmentation are there and accept each other.

    The message gives the command that installs a suitable version.
    """
    for module in ('mmengine', 'mmcv', 'mmseg'):
        if find_spec(module) is None:
            raise ImportError(
                f'mmdiffdis needs {module}, which is not installed: `{_INSTALL[module]}`'
            )
    from mmengine import __version__ as mmengine_version
    from mmengine.utils import digit_version

    if digit_version(mmengine_version) < digit_version('0.10.7'):
        raise ImportError(
            f'mmdiffdis needs mmengine>=0.10.7, but {mmengine_version} is installed: '
            f'`{_INSTALL["mmengine"]}`'
        )
    import mmcv

    try:
        import mmseg
    except AssertionError as error:  # mmseg asserts the versions that it accepts
        command = _REINSTALL_MMCV if 'MMCV' in str(error) else _INSTALL['mmengine']
        raise ImportError(
            f'mmsegmentation {_version_of("mmsegmentation")} does not accept '
            f'mmcv {mmcv.__version__} with mmengine {mmengine_version}: `{command}`'
        ) from error
    if digit_version(mmseg.__version__) < digit_version('1.2.0'):
        raise ImportError(
            f'mmdiffdis needs mmsegmentation>=1.2, but {mmseg.__version__} is installed: '
            f'`{_INSTALL["mmseg"]}`'
        )


def leave_absent_backend() -> None:
    """Makes matplotlib, which MMEngine imports, draw files if its backend is not installed.

    Jupyter sets MPLBACKEND for the programs that it starts, to a module that they may lack.
    """
    scheme, _, module = os.environ.get('MPLBACKEND', '').partition('module://')
    if module and not scheme:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:  # of the package around it
            found = None
        if found is None:
            os.environ['MPLBACKEND'] = 'agg'


def apply() -> None:
    """Applies every patch that this environment needs; calling it again changes nothing."""
    if os.environ.get(NO_COMPAT_VARIABLE, '0') not in ('', '0'):
        return
    stub_mmcv_ext()
    restore_find_loader()
    replace_pkg_resources()
    avoid_reentrant_checkpoints()


def add_config_scheme() -> None:
    """Lets configs inherit ours as `_base_ = 'mmdiffdis::diffdis/NAME.py'` from any folder."""
    from mmengine.config import Config

    original = Config._get_cfg_path
    if hasattr(original, 'of_mmdiffdis'):
        return

    def get_path(path: str, filename: str) -> tuple[str, str | None]:
        scheme, _, name = path.partition('::')
        if scheme != 'mmdiffdis':
            return original(path, filename)
        file = CONFIGS / name
        if not file.is_file():
            raise FileNotFoundError(f'{path} does not exist: expected a file below {CONFIGS}')
        return str(file), None

    get_path.of_mmdiffdis = True
    Config._get_cfg_path = staticmethod(get_path)


def stub_mmcv_ext() -> None:
    """Puts a stub of mmcv's compiled operators into `sys.modules` if they cannot be imported.

    mmseg 1.2 imports `mmcv.ops` unconditionally (focal loss, point sampling), hence `mmcv._ext`,
    which mmcv-lite does not have. An operator of the stub raises NotImplementedError when called.
    The stub's spec has no loader, by which `mmcv_full_available()` sees that mmcv is not full.
    """
    name = 'mmcv._ext'
    try:
        importlib.import_module(name)
        return
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        reason = 'mmcv-lite has none'
    except ImportError as error:  # compiled for another version of torch
        reason = f'they cannot be imported ({error})'
        warnings.warn(
            f"mmcv's operators are left out because {reason}; reinstall mmcv, or "
            f'`{_REINSTALL_MMCV}`',
            stacklevel=2,
        )
    stub = ModuleType(name, STUB_DOC)
    stub.__spec__ = ModuleSpec(name, None)
    stub.__getattr__ = lambda operator: _missing_operator(operator, reason)
    sys.modules[name] = stub


def _missing_operator(name: str, reason: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):  # Python asks for __path__, __file__, ...
        raise AttributeError(name)

    def operator(*args, **kwargs) -> NoReturn:
        raise NotImplementedError(
            f"{name} is one of mmcv's compiled operators; {reason}: "
            '`pip uninstall -y mmcv-lite && pip install mmcv==2.1.0`'
        )

    return operator


def restore_find_loader() -> None:
    """Restores `pkgutil.find_loader`, gone in Python 3.14; `mmcv_full_available()` calls it."""
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = _find_loader


def _find_loader(name: str):
    spec = find_spec(name)
    return spec and spec.loader


def replace_pkg_resources() -> None:
    """Replaces MMEngine's functions that import pkg_resources, which setuptools 82 removed.

    They resolve `_base_ = 'mmseg::...'` and the hub's configs. Other modules import them by name
    (`from mmengine.utils import is_installed`), so they are replaced in every loaded mm* module.
    """
    from mmengine.utils import package_utils

    needs_pkg_resources = 'pkg_resources' in package_utils.is_installed.__code__.co_names
    if not needs_pkg_resources or find_spec('pkg_resources') is not None:
        return
    replacements = {f.__name__: f for f in (is_installed, get_installed_path, package2module)}
    originals = {name: getattr(package_utils, name) for name in replacements}
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith('mm') or module_name == __name__:
            continue
        for name, function in replacements.items():
            if vars(module).get(name) is originals[name]:
                setattr(module, name, function)


def is_installed(package: str) -> bool:
    """Returns whether a distribution or a module (no namespace) of this name can be found."""
    if _version_of(package) is not None:
        return True
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """Returns the folder of a module or of a distribution: 'mmsegmentation' gives '.../mmseg'.

    Raises:
        PackageNotFoundError: If neither a module nor a distribution has this name.
        RuntimeError: If it is a namespace package, which has no single folder.
    """
    spec = find_spec(package) or find_spec(package2module(package))
    if spec is None:
        raise PackageNotFoundError(package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single folder')
    return os.path.dirname(spec.origin)


def package2module(package: str) -> str:
    """Returns the first module that a distribution installs: 'mmsegmentation' gives 'mmseg'.

    Raises:
        PackageNotFoundError: If no distribution has this name.
        ValueError: If the distribution does not list its modules.
    """
    top_level = distribution(package).read_text('top_level.txt')
    if not top_level:
        raise ValueError(f'{package} lists no modules in top_level.txt, expected at least one')
    return top_level.split('\n')[0]


def avoid_reentrant_checkpoints() -> None:
    """Makes activation checkpointing of mmseg's backbones non-re-entrant, as torch recommends.

    With torch's default, DistributedDataParallel refuses a backbone that runs twice in a forward
    pass, such as BiRefNet's ("mark a variable ready only once").
    """
    import torch.utils.checkpoint
    from mmseg.models import backbones

    plain = SimpleNamespace(
        checkpoint=partial(torch.utils.checkpoint.checkpoint, use_reentrant=False)
    )
    for module in vars(backbones).values():
        if getattr(module, 'cp', None) is torch.utils.checkpoint:
            module.cp = plain


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
