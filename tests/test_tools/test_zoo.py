"""The list of models that `mmdiffdis zoo` prints."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT, load_tool

from mmdiffdis.utils.shipped import shipped_models

zoo = load_tool('zoo.py')


@pytest.fixture(scope='module')
def systems() -> list[dict]:
    return zoo.read_zoo()


def test_overview_has_all_systems_and_weights_of_the_package(systems):
    text = zoo.overview(systems)
    for name, config in shipped_models().items():
        assert f'  {name} ' in text and f' {config} ' in text
    assert {system['Name'] for system in systems} >= {'DiffDIS', 'U2-Net', 'BiRefNet'}
    assert f'  {"PIDNet":10}  Apache License 2.0' in text and 'no published weights' in text


def test_systems_configs_and_models_are_found_by_name(systems):
    system = zoo.find('u2-net', systems)
    assert 'Code License' in system and 'published file loaded and compared' in system
    assert re.search(r'\n  u2netp_1xb12-600k_dis5k-320x320 +u2netp\n', system)
    model = zoo.find('diffdis_tiny', systems)
    assert model == zoo.find(shipped_models()['diffdis_tiny'], systems)
    assert 'Apache License 2.0' in model and 'maxF 0.916' in model
    assert 'mmdiffdis://diffdis_tiny' in model and 'SD-Turbo' not in model


def test_all_can_be_described(systems):
    for system in systems:
        for model in (None, *system['Models']):
            assert system['Code']['URL'] in zoo.describe(system, model)


@pytest.mark.parametrize('name', ['birefnt', ''])
def test_unknown_names_are_refused_with_a_way_out(systems, name):
    with pytest.raises(LookupError, match='expected a system, a config or a model; ') as caught:
        zoo.find(name, systems)
    assert ('did you mean birefnet' if name else '`zoo` alone lists them') in str(caught.value)


def test_the_command_needs_no_torch():
    program = (
        'import sys, runpy; sys.argv = ["zoo.py"]; '
        f'runpy.run_path({str(ROOT / "tools" / "zoo.py")!r}, run_name="__main__"); '
        'assert not {"torch", "mmengine", "mmdiffdis"} & sys.modules.keys()'
    )
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith('Weights in this package')


def test_a_reader_may_close_the_pipe_early():
    command = [sys.executable, ROOT / 'tools' / 'zoo.py']
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ''
    assert process.returncode == 0
