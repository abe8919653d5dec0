"""Makes MMEngine 0.10.7, mmcv-lite 2.1.0 and MMSegmentation 1.2.2 work on a current Python stack.

`apply()` runs on `import mmdiffdis`, whether or not OpenMMLab's packages were imported before. A
patch does nothing where it is not needed: with the full mmcv, with a setuptools that still has
pkg_resources, on Python before 3.14, or with a release that mended the matter itself.
`MMDIFFDIS_NO_COMPAT=1` in the environment switches all of them off.
"""

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from types import ModuleType
from typing import NoReturn

NO_COMPAT_VARIABLE = 'MMDIFFDIS_NO_COMPAT'

STUB_DOC = 'Stands in for the compiled operators of mmcv.'

# mmcv and mmcv-lite install into the same folder, so one has to go before the other comes.
_MEND_MMCV = 'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0'
_INSTALL = {
    'mmengine': "pip install 'mmengine>=0.10.7,<1'",
    'mmcv': 'pip install mmcv-lite==2.1.0',
    'mmseg': "pip install 'mmsegmentation==1.2.*'",
}


def check_environment() -> None:
    """Returns if MMEngine, mmcv and MMSegmentation are there and accept each other.

    Raises:
        ImportError: One of them is missing or unsuitable; the message says what mends it.
    """
    for module in ('mmengine', 'mmcv', 'mmseg'):
        if find_spec(module) is None:
            raise ImportError(
                f'mmdiffdis needs {module}, which is not installed: `{_INSTALL[module]}`.'
            )
    from mmengine import __version__ as mmengine_version
    from mmengine.utils import digit_version

    if digit_version(mmengine_version) < digit_version('0.10.7'):
        raise ImportError(
            f'mmdiffdis needs mmengine>=0.10.7, but {mmengine_version} is installed: '
            f'`{_INSTALL["mmengine"]}`.'
        )
    import mmcv

    try:
        import mmseg
    except AssertionError as error:  # of the versions that mmseg accepts
        mend = _MEND_MMCV if 'MMCV' in str(error) else _INSTALL['mmengine']
        raise ImportError(
            f'mmsegmentation {_version_of("mmsegmentation")} does not accept '
            f'mmcv {mmcv.__version__} with mmengine {mmengine_version}: `{mend}`.'
        ) from error
    if digit_version(mmseg.__version__) < digit_version('1.2.0'):
        raise ImportError(
            f'mmdiffdis needs mmsegmentation>=1.2, but {mmseg.__version__} is installed: '
            f'`{_INSTALL["mmseg"]}`.'
        )


def apply() -> None:
    """Applies every patch this environment needs; calling it again changes nothing."""
    if os.environ.get(NO_COMPAT_VARIABLE, '0') not in ('', '0'):
        return
    stub_mmcv_ext()
    restore_find_loader()
    replace_pkg_resources()
    replace_loaders()


def stub_mmcv_ext() -> None:
    """Puts a stand-in for mmcv's compiled operators into `sys.modules` if they cannot be imported.

    mmseg 1.2 imports `mmcv.ops` unconditionally (focal loss, point sampling), hence `mmcv._ext`,
    which mmcv-lite does not have. The stand-in's operators say so when they are called. Its spec
    has no loader, by which `mmcv_full_available()` sees that mmcv is not full.
    """
    name = 'mmcv._ext'
    try:
        importlib.import_module(name)
        return
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        reason = 'mmcv-lite has none'
    except ImportError as error:  # compiled against another torch
        reason = f'they do not load here ({error})'
        warnings.warn(
            f"mmcv's operators are left out because {reason}; reinstall mmcv, or `{_MEND_MMCV}`.",
            stacklevel=2,
        )
    stub = ModuleType(name, STUB_DOC)
    stub.__spec__ = ModuleSpec(name, None)
    stub.__getattr__ = lambda operator: _missing_operator(operator, reason)
    sys.modules[name] = stub


def _missing_operator(name: str, reason: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):  # Python itself asks for __path__, __file__ and such
        raise AttributeError(name)

    def operator(*args, **kwargs) -> NoReturn:
        raise NotImplementedError(
            f"{name} is one of mmcv's compiled operators; {reason}: "
            '`pip uninstall -y mmcv-lite && pip install mmcv==2.1.0`.'
        )

    return operator


def restore_find_loader() -> None:
    """Gives back `pkgutil.find_loader`, gone from Python 3.14; `mmcv_full_available()` calls it."""
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = _find_loader


def _find_loader(name: str):
    spec = find_spec(name)
    return spec and spec.loader


def replace_pkg_resources() -> None:
    """Replaces MMEngine's functions that import pkg_resources, which setuptools 82 removed.

    They resolve `_base_ = 'mmseg::...'` and the hub's configs. Other modules hold them by name
    (`from mmengine.utils import is_installed`), so every loaded module of the family is searched.
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


def replace_loaders() -> None:
    """Makes MMEngine read checkpoints with `checkpoints.load_from_local` and `load_from_url`.

    MMEngine 0.10.7 leaves `weights_only` to torch.load, whose default refuses MMEngine's own
    checkpoints since torch 2.6, and to torch.hub, whose default runs what a download contains.
    """
    from mmengine.runner import CheckpointLoader, checkpoint

    from .checkpoints import load_from_local, load_from_url

    checkpoint.load_url = load_from_url
    CheckpointLoader.register_scheme('', load_from_local, force=True)


def is_installed(package: str) -> bool:
    """Whether a distribution or a module (other than a namespace) of this name can be found."""
    if _version_of(package) is not None:
        return True
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """The folder of a module or of a distribution: 'mmsegmentation' gives '.../mmseg'.

    Raises:
        PackageNotFoundError: Neither a module nor a distribution has this name.
        RuntimeError: It is a namespace package, which has no single folder.
    """
    spec = find_spec(package) or find_spec(package2module(package))
    if spec is None:
        raise PackageNotFoundError(package)
    if spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single folder.')
    return os.path.dirname(spec.origin)


def package2module(package: str) -> str:
    """The first module a distribution installs: 'mmsegmentation' gives 'mmseg'.

    Raises:
        PackageNotFoundError: No distribution has this name.
        ValueError: It does not say which modules it installs.
    """
    top_level = distribution(package).read_text('top_level.txt')
    if not top_level:
        raise ValueError(f'can not infer the module name of {package}')
    return top_level.split('\n')[0]


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
