"""setup.py, constraints.txt, the Makefile and what is installed agree with each other."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from PIL import Image

import mmdiffdis

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def arguments():
    """Returns the arguments that setup.py passes to setuptools."""
    captured = {}
    source = (ROOT / 'setup.py').read_text()
    source = source.replace('from setuptools import find_packages, setup', '')
    scope = {
        '__file__': str(ROOT / 'setup.py'),
        'find_packages': lambda **kwargs: kwargs,
        'setup': lambda **kwargs: captured.update(kwargs),
    }
    exec(compile(source, 'setup.py', 'exec'), scope)
    return captured


@pytest.fixture(scope='module')
def constraints():
    """Name -> what constraints.txt says for this Python."""
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith('#')]
    return {
        canonicalize_name(requirement.name): requirement.specifier
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def exact(specifier: SpecifierSet) -> str:
    (only,) = specifier
    assert only.operator == '=='
    return only.version


def test_version_is_written_once(arguments):
    assert arguments['version'] == mmdiffdis.__version__
    assert re.fullmatch(r'\d+\.\d+\.\d+\S*', mmdiffdis.__version__)


def test_constraints_satisfy_what_is_required(arguments, constraints):
    lists = [arguments['install_requires'], *arguments['extras_require'].values()]
    for requirement in (Requirement(line) for requirements in lists for line in requirements):
        name = canonicalize_name(requirement.name)
        if name in constraints:
            version = exact(constraints[name])
            assert requirement.specifier.contains(version), f'{requirement} against {version}'
    for name in ('torch', 'mmengine', 'mmsegmentation', 'diffusers', 'numpy', 'pysodmetrics'):
        assert name in constraints
    assert exact(constraints['opencv-python']) == exact(constraints['opencv-python-headless'])


def test_constraints_satisfy_what_the_packages_require_of_each_other(constraints):
    """E.g. pysodmetrics' upper bounds; for what is installed at the constrained version."""
    checked = 0
    for name, specifier in constraints.items():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if distribution.version.split('+')[0] != exact(specifier):
            continue
        for requirement in map(Requirement, distribution.requires or []):
            needed = constraints.get(canonicalize_name(requirement.name))
            if needed and (requirement.marker is None or requirement.marker.evaluate()):
                version = exact(needed)
                assert requirement.specifier.contains(version), f'{name}: {requirement}'
                checked += 1
    assert checked


def test_neither_mmcv_nor_what_has_no_cpu_build_is_required(arguments):
    required = {canonicalize_name(Requirement(r).name) for r in arguments['install_requires']}
    assert not required & {'mmcv', 'mmcv-lite', 'mmcv-full', 'torchvision', 'timm', 'onedl-mmcv'}
    assert arguments['extras_require']['lite'] == ['mmcv-lite==2.1.0']
    assert arguments['extras_require']['full'] == ['mmcv==2.1.0']


def test_weights_are_part_of_the_package(arguments):
    assert arguments['package_data'] == {
        'mmdiffdis': ['weights/*.safetensors', 'weights/models.json', 'weights/NOTICE.md']
    }
    assert arguments['packages'] == {'include': ['mmdiffdis', 'mmdiffdis.*']}
    for folder in {path.parent for path in (ROOT / 'mmdiffdis').rglob('*.py')}:
        assert (folder / '__init__.py').is_file(), f'{folder} would not be installed'


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """The folder that an sdist of a copy of the repository was unpacked to, and its wheel's."""
    folder = tmp_path_factory.mktemp('built')
    clone = folder / 'clone'
    clone.mkdir()
    for path in ROOT.iterdir():
        if path.name in ('configs', 'mmdiffdis', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(path, clone / path.name, ignore=ignored)
        elif path.is_file():
            shutil.copy2(path, clone)
    (clone / 'configs' / '__pycache__').mkdir()
    (clone / 'configs' / '__pycache__' / 'a.pyc').touch()
    build = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    subprocess.run([sys.executable, '-c', build, folder], cwd=clone, check=True)
    (sdist,) = folder.glob('*.tar.gz')
    shutil.unpack_archive(sdist, folder / 'sdist', filter='data')
    (source,) = (folder / 'sdist').iterdir()
    pip = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index']
    subprocess.run([*pip, source, '-w', folder], cwd=folder, check=True)
    (wheel,) = folder.glob('*.whl')
    shutil.unpack_archive(wheel, folder / 'wheel', 'zip')
    return source, folder / 'wheel'


def files_below(folder: Path) -> set[str]:
    """Names of the files in a folder and its sub-folders, except bytecode."""
    found = (path.relative_to(folder) for path in folder.rglob('*') if path.is_file())
    return {str(path) for path in found if '__pycache__' not in path.parts}


@pytest.mark.slow
def test_sdist_and_wheel_carry_configs_tools_and_weights(built):
    source, wheel = built
    for name in ('configs', 'tools'):
        expected = files_below(ROOT / name)
        assert files_below(source / name) == expected
        assert files_below(wheel / 'mmdiffdis' / '.mim' / name) == expected
    assert (wheel / 'mmdiffdis/.mim/model-index.yml').is_file()
    package = {name for name in files_below(wheel / 'mmdiffdis') if not name.startswith('.mim')}
    assert package == files_below(ROOT / 'mmdiffdis')

    assert not [path for folder in built for path in folder.rglob('*.pyc')]


class TestWheel:
    """The files of the wheel, used without the repository."""

    pytestmark = pytest.mark.slow

    @staticmethod
    def run(built, folder, *arguments) -> str:
        environment = {**os.environ, 'PYTHONPATH': str(built[1]), 'PYTHONDONTWRITEBYTECODE': '1'}
        command = [sys.executable, *map(str, arguments)]
        result = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_predicts_with_names_of_config_and_weights(self, built, tmp_path):
        program = (
            'import numpy as np, mmdiffdis\n'
            'from mmdiffdis.apis import DISInferencer\n'
            'from mmdiffdis.apis.configs import load_config\n'
            'from mmdiffdis.engine.options import OPTIONS\n'
            "config = 'diffdis_tiny_1xb8-1k2_synthetic-dis-384x384'\n"
            "inferencer = DISInferencer(config, 'mmdiffdis://diffdis_tiny', 'cpu')\n"
            'mask = inferencer(np.full((40, 60, 3), 99, np.uint8)).mask\n'
            "print(mask.shape, mmdiffdis.__file__, (OPTIONS / 'lora.py').is_file())\n"
        )
        printed = self.run(built, tmp_path, '-c', program)
        assert printed.split('\n')[-2] == f'(40, 60) {built[1]}/mmdiffdis/__init__.py True'

    def test_command_predicts_a_photograph_beside_it(self, built, tmp_path):
        Image.new('RGB', (60, 40), 'red').save(tmp_path / 'photo.jpg')
        printed = self.run(built, tmp_path, '-m', 'mmdiffdis_command', 'predict', 'photo.jpg')
        assert '1 of 1 written to masks by u2netp' in printed
        assert Image.open(tmp_path / 'masks' / 'photo.png').size == (60, 40)

    def test_command_trains_with_an_option(self, built, tmp_path):
        train = ['-m', 'mmdiffdis_command', 'train']
        printed = self.run(built, tmp_path, *train, '--help')
        assert printed.startswith('usage: mmdiffdis train ') and 'lora' in printed

    def test_tools_run_where_mim_looks_for_them(self, built, tmp_path):
        tool = built[1] / 'mmdiffdis/.mim/tools/analysis_tools/get_flops.py'
        printed = self.run(built, tmp_path, tool, 'u2netp', '--shape', '64', '64')
        assert '1.13' in printed


@pytest.mark.skipif(shutil.which('make') is None, reason='there is no make')
class TestMakefile:
    @staticmethod
    def make(*arguments, **environment):
        return subprocess.run(
            ['make', *arguments],
            cwd=ROOT,
            env={**os.environ, 'MAKEFLAGS': '', **environment},
            capture_output=True,
            text=True,
        )

    def test_lists_its_targets(self):
        listed = self.make().stdout
        for target in ('demo', 'test', 'check', 'docs', 'install'):
            assert f'make {target} ' in listed

    @pytest.mark.parametrize('target', ['demo', 'test', 'check'])
    def test_sets_up_what_each_target_needs(self, target, tmp_path):
        plan = self.make('-n', target, f'VENV={tmp_path}/venv').stdout
        steps = ['-m venv --clear', 'constraints.txt torch', "-e '.[lite,tests]'", 'touch']
        places = [plan.index(step) for step in steps]
        assert places == sorted(places)

    def test_sets_up_what_the_site_needs_and_stops_at_its_warnings(self, tmp_path):
        plan = self.make('-n', 'docs', f'VENV={tmp_path}/venv').stdout
        steps = ["-e '.[lite,tests]'", "-e '.[docs]'", 'mkdocs build --strict']
        places = [plan.index(step) for step in steps]
        assert places == sorted(places)

    def test_says_what_mends_a_missing_interpreter_or_venv(self, tmp_path):
        result = self.make('install', 'PYTHON=no-such-python', f'VENV={tmp_path}/venv')
        assert result.returncode != 0
        assert 'no-such-python is not a Python 3.10 or later: make PYTHON=' in result.stdout

        python = tmp_path / 'python'
        python.write_text(
            f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
        result = self.make('install', f'PYTHON={python}', f'VENV={tmp_path}/venv')
        assert result.returncode != 0
        assert 'sudo apt install python3-venv' in result.stdout


def test_ci_runs_check_and_test_and_stops_at_a_failure(tmp_path):
    """With a `make` that notes what it is asked for, and fails at the target named in FAIL."""
    fake = tmp_path / 'make'
    fake.write_text('#!/bin/sh\necho "make $1"\n[ "$1" != "$FAIL" ]\n')
    fake.chmod(0o755)

    def run(fail: str) -> tuple[int, list[str]]:
        path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
        result = subprocess.run(
            [ROOT / '.ci' / 'run'],
            env={**os.environ, 'PATH': path, 'FAIL': fail},
            capture_output=True,
            text=True,
        )
        return result.returncode, result.stdout.splitlines()

    assert run('') == (0, ['make check', 'make test-all'])
    code, lines = run('check')
    assert code != 0 and lines == ['make check']
    code, lines = run('test-all')
    assert code != 0 and lines == ['make check', 'make test-all']
