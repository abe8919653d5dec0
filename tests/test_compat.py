"""Each patch, in a process of its own where it has to be applied from scratch."""

import os
import pkgutil
import subprocess
import sys
import textwrap
import types
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmdiffdis import _compat

ROOT = Path(__file__).resolve().parents[1]
HAS_OPERATORS = find_spec('mmcv._ext') is not None and find_spec('mmcv._ext').loader is not None


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        env=environment,
        cwd=ROOT / 'tests',
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_bare_stack_works_after_import_whatever_was_imported_before():
    result = run_python(
        """
        import mmcv, mmengine.config, mmengine.hub, mmengine.runner, mmseg.registry  # before
        import mmdiffdis
        import torch
        import mmseg.apis, mmseg.models
        from mmengine.config.config import is_installed
        from mmengine.hub import get_config
        from mmengine.model import revert_sync_batchnorm

        assert is_installed('mmsegmentation') and not is_installed('no_such_package')
        config = get_config('mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py')
        assert config.model.type == 'EncoderDecoder'
        model = revert_sync_batchnorm(torch.nn.Sequential(torch.nn.SyncBatchNorm(2)))
        assert not isinstance(model[0], torch.nn.SyncBatchNorm)
        print('all well')
        """
    )
    assert result.stdout.strip() == 'all well', result.stderr


def test_config_imports_the_package_midway(tmp_path):
    """`custom_imports` is the first that the process hears of mmdiffdis."""
    first, second = tmp_path / 'first.py', tmp_path / 'second.py'
    first.write_text("custom_imports = dict(imports=['mmdiffdis'])\n")
    second.write_text("_base_ = 'mmseg::_base_/schedules/schedule_20k.py'\n")
    result = run_python(
        f"""
        from mmengine.config import Config
        Config.fromfile({str(first)!r})
        assert Config.fromfile({str(second)!r}).train_cfg.max_iters == 20000
        import mmseg.models
        print('all well')
        """
    )
    assert result.stdout.strip() == 'all well', result.stderr


def test_switch_leaves_everything_as_it_is(monkeypatch):
    def fail():
        raise AssertionError('a patch was applied')

    patches = ('stub_mmcv_ext', 'restore_find_loader', 'replace_pkg_resources')
    for patch in (*patches, 'replace_loaders'):
        monkeypatch.setattr(_compat, patch, fail)
    monkeypatch.setenv('MMDIFFDIS_NO_COMPAT', '1')
    _compat.apply()
    monkeypatch.setenv('MMDIFFDIS_NO_COMPAT', '0')
    with pytest.raises(AssertionError, match='a patch was applied'):
        _compat.apply()


@pytest.mark.skipif(HAS_OPERATORS, reason='the full mmcv is installed')
def test_stack_is_broken_with_the_switch():
    """Or else the patches would not be needed, and should go."""
    result = run_python(
        """
        from mmengine.runner import CheckpointLoader
        stock = CheckpointLoader._schemes['']
        from mmdiffdis._compat import apply
        apply()
        assert CheckpointLoader._schemes[''] is stock
        print('stock loader')
        import mmseg.models
        """,
        MMDIFFDIS_NO_COMPAT='1',
    )
    assert "No module named 'mmcv._ext'" in result.stderr


def test_applying_again_changes_nothing():
    from mmengine.runner import CheckpointLoader
    from mmengine.utils import package_utils

    def state():
        return (
            sys.modules['mmcv._ext'],
            dict(CheckpointLoader._schemes),
            package_utils.is_installed,
            package_utils.get_installed_path,
            pkgutil.find_loader,
        )

    before = state()
    _compat.apply()
    assert state() == before


@pytest.mark.skipif(HAS_OPERATORS, reason='the full mmcv is installed')
def test_stub_operator_says_what_it_needs():
    import torch
    from mmcv.ops import sigmoid_focal_loss

    with pytest.raises(NotImplementedError, match='pip install mmcv==2.1.0'):
        sigmoid_focal_loss(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long))


@pytest.mark.skipif(not HAS_OPERATORS, reason='mmcv-lite is installed')
def test_full_mmcv_is_not_stubbed():
    import torch
    from mmcv.ops import nms

    _, kept = nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([0.9, 0.8]), 0.5)
    assert kept.tolist() == [0]
    assert sys.modules['mmcv._ext'].__doc__ != _compat.STUB_DOC


def test_stub_is_not_made_where_the_operators_import(monkeypatch):
    operators = types.ModuleType('mmcv._ext')
    monkeypatch.setitem(sys.modules, 'mmcv._ext', operators)
    _compat.stub_mmcv_ext()
    assert sys.modules['mmcv._ext'] is operators


def test_operators_that_do_not_load_are_stubbed_with_a_warning(monkeypatch):
    def fail(name):
        raise ImportError('undefined symbol: _ZN2at')

    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    monkeypatch.setattr(_compat.importlib, 'import_module', fail)
    with pytest.warns(UserWarning, match='undefined symbol.*reinstall mmcv'):
        _compat.stub_mmcv_ext()
    with pytest.raises(NotImplementedError, match='undefined symbol'):
        sys.modules['mmcv._ext'].nms()


def test_find_loader_comes_back_where_it_is_missing(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    _compat.restore_find_loader()
    assert pkgutil.find_loader('json').name == 'json'
    assert pkgutil.find_loader('no_such_module') is None
    monkeypatch.undo()


def test_find_loader_is_left_alone_where_it_is(monkeypatch):
    original = object()
    monkeypatch.setattr(pkgutil, 'find_loader', original, raising=False)
    _compat.restore_find_loader()
    assert pkgutil.find_loader is original


def fake_mmengine(monkeypatch, uses_pkg_resources: bool) -> types.ModuleType:
    """A `package_utils` as MMEngine's, and a module that has imported a function of it by name."""
    package_utils = types.ModuleType('mmengine.utils.package_utils')
    line = 'import pkg_resources' if uses_pkg_resources else 'pass'
    for name in ('is_installed', 'get_installed_path', 'package2module'):
        exec(f'def {name}(package):\n    {line}', vars(package_utils))
    user = types.ModuleType('mm_user')
    user.is_installed = package_utils.is_installed
    import mmengine.utils

    monkeypatch.setattr(mmengine.utils, 'package_utils', package_utils)
    monkeypatch.setitem(sys.modules, 'mmengine.utils.package_utils', package_utils)
    monkeypatch.setitem(sys.modules, 'mm_user', user)
    return user


@pytest.mark.parametrize(
    ('uses_pkg_resources', 'has_pkg_resources', 'replaced'),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_pkg_resources_is_replaced_only_where_it_is_used_and_missing(
    monkeypatch, uses_pkg_resources, has_pkg_resources, replaced
):
    user = fake_mmengine(monkeypatch, uses_pkg_resources)
    original = user.is_installed
    monkeypatch.setattr(
        _compat, 'find_spec', lambda name: (name == 'pkg_resources' and has_pkg_resources) or None
    )
    _compat.replace_pkg_resources()
    assert user.is_installed is (_compat.is_installed if replaced else original)


def test_package_functions_give_what_pkg_resources_gave():
    import mmseg

    folder = os.path.dirname(mmseg.__file__)
    assert _compat.get_installed_path('mmsegmentation') == folder
    assert _compat.get_installed_path('mmseg') == folder
    assert _compat.package2module('mmsegmentation') == 'mmseg'
    assert _compat.is_installed('mmsegmentation') and _compat.is_installed('mmseg')
    assert not _compat.is_installed('no_such_package')
    with pytest.raises(metadata.PackageNotFoundError):
        _compat.get_installed_path('no_such_package')


def test_package_functions_refuse_namespace_packages(tmp_path, monkeypatch):
    (tmp_path / 'a_namespace').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not _compat.is_installed('a_namespace')
    with pytest.raises(RuntimeError, match='namespace package'):
        _compat.get_installed_path('a_namespace')


@pytest.mark.parametrize(
    ('module', 'command'),
    [
        ('mmengine', "pip install 'mmengine>=0.10.7,<1'"),
        ('mmcv', 'pip install mmcv-lite==2.1.0'),
        ('mmseg', "pip install 'mmsegmentation==1.2.*'"),
    ],
)
def test_missing_package_is_named_with_the_command(monkeypatch, module, command):
    found = _compat.find_spec
    monkeypatch.setattr(_compat, 'find_spec', lambda name: None if name == module else found(name))
    with pytest.raises(ImportError) as caught:
        _compat.check_environment()
    assert str(caught.value) == (f'mmdiffdis needs {module}, which is not installed: `{command}`.')


def test_old_mmengine_is_named(monkeypatch):
    import mmengine

    monkeypatch.setattr(mmengine, '__version__', '0.10.5')
    with pytest.raises(ImportError, match='needs mmengine>=0.10.7, but 0.10.5 is installed: `pip'):
        _compat.check_environment()


def test_old_mmseg_is_named(monkeypatch):
    import mmseg

    monkeypatch.setattr(mmseg, '__version__', '1.1.2')
    with pytest.raises(ImportError, match='needs mmsegmentation>=1.2, but 1.1.2 is installed'):
        _compat.check_environment()


def test_mmcv_that_mmseg_refuses_is_named(monkeypatch):
    import mmcv

    monkeypatch.setattr(mmcv, '__version__', '2.2.0')
    for name in [name for name in sys.modules if name.split('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError) as caught:
        _compat.check_environment()
    assert str(caught.value) == (
        f'mmsegmentation {metadata.version("mmsegmentation")} does not accept mmcv 2.2.0 with '
        f'mmengine {metadata.version("mmengine")}: '
        '`pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0`.'
    )


def test_importing_the_package_without_mmcv_says_so(tmp_path):
    """The message has to get out before anything else fails for the same reason."""
    result = run_python(
        """
        import sys
        class Hide:
            def find_spec(self, name, path=None, target=None):
                if name.split('.')[0] == 'mmcv':
                    raise ModuleNotFoundError(name)
        import importlib.util
        real = importlib.util.find_spec
        importlib.util.find_spec = lambda n, p=None: None if n == 'mmcv' else real(n, p)
        sys.meta_path.insert(0, Hide())
        import mmdiffdis
        """
    )
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == (
        'ImportError: mmdiffdis needs mmcv, which is not installed: `pip install mmcv-lite==2.1.0`.'
    )
