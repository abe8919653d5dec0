"""Ordered prefetching in threads, within a budget; CPUs that a process may use."""

import os
import threading
from pathlib import Path

import pytest

from mmdiffdis.utils.parallel import available_cpus, map_ahead


def sizes_in_progress(sizes: list[int], ahead: int, budget: int) -> list[list[int]]:
    """Returns the sizes of the items in progress whenever another item starts."""
    lock, current, history = threading.Lock(), [], []

    def work(size: int) -> int:
        with lock:
            current.append(size)
            history.append(list(current))
        return size

    results = []
    for item, future in map_ahead(work, sizes, ahead, lambda size: size, budget):
        results.append(future.result())
        assert item == results[-1]
        with lock:
            current.remove(item)
    assert results == sizes
    return history


@pytest.mark.parametrize('ahead', [1, 3, 20])
def test_items_in_progress_stay_within_the_budget(ahead):
    history = sizes_in_progress([3, 3, 9, 2, 2, 2, 2, 7], ahead, budget=6)
    # the 9 and the 7 exceed the budget and are processed alone
    assert all(sum(sizes) <= 6 or len(sizes) == 1 for sizes in history)
    assert all(len(sizes) <= ahead + 1 for sizes in history)


def test_items_within_the_budget_run_in_parallel():
    started = threading.Barrier(3, timeout=10)
    items = [1, 2, 3]
    results = map_ahead(lambda _: started.wait(), items, 2, lambda size: size, 6, workers=3)
    assert len([future.result() for _, future in results]) == 3


V2 = {'proc/self/cgroup': '0::/a/b\n'}
V1 = {'proc/self/cgroup': '4:cpu,cpuacct:/docker/1\n3:memory:/docker/1\n'}


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        ({}, 64),  # not under Linux
        (V2 | {'sys/fs/cgroup/a/b/cpu.max': 'max 100000\n'}, 64),
        (V2 | {'sys/fs/cgroup/a/b/cpu.max': '250000 100000\n'}, 3),
        (V2 | {'sys/fs/cgroup/a/cpu.max': '800000 100000\n'}, 8),
        # inside a container, the group's files are those of the mount
        (V2 | {'sys/fs/cgroup/cpu.max': '10000 100000\n'}, 1),
        (
            V1
            | {
                'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '400000\n',
                'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
                'sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us': '-1\n',
                'sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us': '100000\n',
            },
            4,
        ),
    ],
)
def test_cpus_are_those_of_affinity_and_control_group(files, expected, tmp_path, monkeypatch):
    for name, text in files.items():
        path: Path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(os, 'cpu_count', lambda: 256)
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: set(range(64)), raising=False)
    assert available_cpus(tmp_path) == expected
