"""Memory that the C library keeps when it is freed."""

import subprocess
import sys

import pytest

from mmdiffdis.utils.memory import keep_freed_memory

PROGRAM = """
import resource
from mmdiffdis.utils.memory import keep_freed_memory
is_set = {keep} and keep_freed_memory()

import torch

def allocate():
    blocks = [torch.zeros(20_000_000) for _ in range(3)]

for _ in range(3):
    allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    allocate()
print(is_set, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool, **environment: str) -> tuple[bool, int]:
    """Returns whether memory is kept, and the page faults of blocks of 80 MB, used again."""
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(keep=keep)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    is_set, faults = result.stdout.split()
    return is_set == 'True', int(faults)


@pytest.mark.skipif(sys.platform != 'linux', reason='needs glibc')
def test_kept_memory_is_used_again():
    is_set, faults = page_faults(True)
    assert is_set
    assert 10 * (faults + 1000) < page_faults(False)[1]


@pytest.mark.parametrize('name', ['MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_MAX_', 'GLIBC_TUNABLES'])
def test_settings_of_the_user_are_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, '')
    assert not keep_freed_memory()


@pytest.mark.parametrize('platform', ['darwin', 'win32'])
def test_nothing_is_done_on_other_systems(monkeypatch, platform):
    monkeypatch.setattr('sys.platform', platform)
    assert not keep_freed_memory()


def test_nothing_is_done_without_glibc(monkeypatch):
    monkeypatch.setattr('sys.platform', 'linux')
    monkeypatch.setattr('ctypes.CDLL', lambda name: object())
    assert not keep_freed_memory()
