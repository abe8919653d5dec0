"""The command `mmdiffdis`."""

import subprocess
import sys

import pytest
from conftest import ROOT

import mmdiffdis
import mmdiffdis_command


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Runs the command with the standard library alone."""
    program = (
        f'import sys; sys.path.insert(0, {str(ROOT)!r}); from mmdiffdis_command import main; main()'
    )
    command = [sys.executable, '-I', '-S', '-c', program, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_lists_the_commands():
    result = run('--help')
    assert result.returncode == 0 and result.stdout.startswith('usage: mmdiffdis COMMAND ')
    for name in mmdiffdis_command.COMMANDS:
        assert f'\n  {name} ' in result.stdout


def test_version():
    assert run('--version').stdout == f'mmdiffdis {mmdiffdis.__version__}\n'


def test_an_unknown_command_is_refused():
    result = run('predicts')
    assert result.returncode == 2 and "invalid choice: 'predicts'" in result.stderr


@pytest.mark.parametrize('command', ['predict', 'train', 'demo'])
def test_help_of_a_command_is_that_of_its_tool(command):
    result = run(command, '--help')
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f'usage: mmdiffdis {command} [')


@pytest.mark.parametrize('tool', [tool for tool, _ in mmdiffdis_command.COMMANDS.values()])
def test_each_command_is_a_tool(tool):
    assert "__name__ == '__main__'" in (ROOT / 'tools' / tool).read_text()


def test_processes_that_a_tool_starts_find_its_functions(tmp_path):
    """By the method 'spawn', which imports the main program again."""
    folders = [tmp_path / 'mmdiffdis' / 'utils', tmp_path / 'mmdiffdis' / '.mim' / 'tools']
    for folder in folders:
        folder.mkdir(parents=True)
    for name in ('mmdiffdis/__init__.py', 'mmdiffdis/version.py', 'mmdiffdis/utils/shipped.py'):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (folders[1] / 'predict.py').write_text(
        'import multiprocessing, sys\n'
        'def double(number):\n    return 2 * number\n'
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        '        print(sys.argv[1:], pool.map(double, [3]))\n'
    )
    (tmp_path / 'mmdiffdis_command.py').write_text((ROOT / 'mmdiffdis_command.py').read_text())
    result = subprocess.run(
        [sys.executable, '-m', 'mmdiffdis_command', 'predict', '--a', 'b'],
        cwd=tmp_path,
        env={'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout == "['--a', 'b'] [6]\n", result.stderr
