"""Compatibility patches; in a separate process where they have to be applied from scratch."""

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
from mmengine.config import Config

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


@pytest.mark.slow
def test_stack_works_after_import_even_if_it_was_imported_before():
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
        print('done')
        """
    )
    assert result.stdout.strip() == 'done', result.stderr


@pytest.mark.slow
def test_patches_are_applied_by_custom_imports_of_a_config(tmp_path):
    first, second = tmp_path / 'first.py', tmp_path / 'second.py'
    first.write_text("custom_imports = dict(imports=['mmdiffdis'])\n")
    second.write_text("_base_ = 'mmseg::_base_/schedules/schedule_20k.py'\n")
    result = run_python(
        f"""
        from mmengine.config import Config
        Config.fromfile({str(first)!r})
        assert Config.fromfile({str(second)!r}).train_cfg.max_iters == 20000
        import mmseg.models
        print('done')
        """
    )
    assert result.stdout.strip() == 'done', result.stderr


def test_switch_turns_the_patches_off(monkeypatch):
    def fail():
        raise AssertionError('a patch was applied')

    for patch in ('stub_mmcv_ext', 'restore_find_loader', 'replace_pkg_resources'):
        monkeypatch.setattr(_compat, patch, fail)
    monkeypatch.setenv('MMDIFFDIS_NO_COMPAT', '1')
    _compat.apply()
    monkeypatch.setenv('MMDIFFDIS_NO_COMPAT', '0')
    with pytest.raises(AssertionError, match='a patch was applied'):
        _compat.apply()


@pytest.mark.slow
@pytest.mark.skipif(HAS_OPERATORS, reason='the full mmcv is installed')
def test_stack_is_broken_with_the_switch():
    """Shows that the patches are still needed."""
    result = run_python('import mmdiffdis', MMDIFFDIS_NO_COMPAT='1')
    assert "No module named 'mmcv._ext'" in result.stderr


@pytest.mark.slow
def test_safe_loader_stays_with_the_switch(tmp_path):
    result = run_python(
        f"""
        import os, pkgutil, sys, types
        import torch
        from importlib.machinery import ModuleSpec
        from mmengine.runner import CheckpointLoader, checkpoint

        class Evil:
            def __reduce__(self):
                return os.mkdir, ({str(tmp_path / 'marker')!r},)

        stub = types.ModuleType('mmcv._ext')  # the stack has to work without the patches
        stub.__spec__, stub.__getattr__ = ModuleSpec('mmcv._ext', None), lambda operator: None
        sys.modules.setdefault('mmcv._ext', stub)
        pkgutil.find_loader = lambda name: None
        import mmdiffdis

        assert checkpoint.load_url is mmdiffdis.checkpoints.load_from_url
        torch.save(Evil(), {str(tmp_path / 'evil.pth')!r})
        try:
            CheckpointLoader.load_checkpoint({str(tmp_path / 'evil.pth')!r}, 'cpu')
        except mmdiffdis.checkpoints.CheckpointError as error:
            print(error)
        """,
        MMDIFFDIS_NO_COMPAT='1',
    )
    assert 'evil.pth was not loaded: it refers to `posix.mkdir`' in result.stdout, result.stderr
    assert not (tmp_path / 'marker').exists()


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
def test_stub_operator_names_the_package_that_has_it():
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


def test_operators_that_can_be_imported_are_not_stubbed(monkeypatch):
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


def test_missing_find_loader_is_restored(monkeypatch):
    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    _compat.restore_find_loader()
    assert pkgutil.find_loader('json').name == 'json'
    assert pkgutil.find_loader('no_such_module') is None
    monkeypatch.undo()


def test_existing_find_loader_is_kept(monkeypatch):
    original = object()
    monkeypatch.setattr(pkgutil, 'find_loader', original, raising=False)
    _compat.restore_find_loader()
    assert pkgutil.find_loader is original


def fake_mmengine(monkeypatch, uses_pkg_resources: bool) -> types.ModuleType:
    """Replaces MMEngine's `package_utils`; returns a module that imported a function of it."""
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


def test_package_functions_find_distributions_and_modules():
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
    assert str(caught.value) == (f'mmdiffdis needs {module}, which is not installed: `{command}`')


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
        '`pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0`'
    )


def test_importing_the_package_without_mmcv_gives_the_command():
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
        'ImportError: mmdiffdis needs mmcv, which is not installed: `pip install mmcv-lite==2.1.0`'
    )


def test_config_of_any_folder_inherits_ours_by_name(tmp_path):
    path = tmp_path / 'own.py'
    name = 'diffdis/diffdis_tiny_finetune_1xb8-400_own-384x384.py'
    path.write_text(f"_base_ = 'mmdiffdis::{name}'\ntrain_cfg = dict(val_interval=7)\n")
    config, base = Config.fromfile(path), Config.fromfile(ROOT / 'configs' / name)
    base.train_cfg.val_interval = 7
    assert config.to_dict() == base.to_dict()
    path.write_text("_base_ = 'mmdiffdis::diffdis/no.py'\n")
    with pytest.raises(FileNotFoundError, match='mmdiffdis::diffdis/no.py does not exist: expec'):
        Config.fromfile(path)


@pytest.mark.parametrize(
    ('backend', 'expected'),
    [
        ('module://no_such_package.backend_inline', 'agg'),
        ('module://matplotlib.backends.backend_svg', 'module://matplotlib.backends.backend_svg'),
        ('pdf', 'pdf'),
    ],
)
def test_backend_of_a_notebook_is_left_if_it_is_absent(monkeypatch, backend, expected):
    monkeypatch.setenv('MPLBACKEND', backend)
    _compat.leave_absent_backend()
    assert os.environ['MPLBACKEND'] == expected
