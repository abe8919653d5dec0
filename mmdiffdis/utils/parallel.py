"""Process pools, and ordered prefetching with threads."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2

Item = TypeVar('Item')
Result = TypeVar('Result')


def available_cpus(root: Path = Path('/')) -> int:
    """Returns the number of CPUs that this process may use, at least 1.

    Counted are the CPUs of its affinity (`taskset`, Slurm), limited under Linux by the quotas of
    its control group (containers, `systemd`).

    Args:
        root: Folder that has `proc` and `sys`.
    """
    has_affinity = hasattr(os, 'sched_getaffinity')
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([cpus, *_cpu_quotas(root)]))


def _cpu_quotas(root: Path) -> list[int]:
    """Returns the limits in CPUs of this process's control groups, rounded up."""
    texts = []
    try:
        for line in (root / 'proc/self/cgroup').read_text(encoding='utf-8').splitlines():
            _, controllers, name = line.split(':', 2)
            if controllers == '':  # version 2
                mount, files = root / 'sys/fs/cgroup', ['cpu.max']
            elif 'cpu' in controllers.split(','):  # version 1
                mount, files = root / 'sys/fs/cgroup/cpu', ['cpu.cfs_quota_us', 'cpu.cfs_period_us']
            else:
                continue
            # inside a container, the name may be that on the host: then the mount is the group
            group = mount / name.lstrip('/')
            for folder in (group, *group.parents):
                paths = [folder / file for file in files]
                if folder.is_relative_to(mount) and all(path.is_file() for path in paths):
                    texts.append(' '.join(path.read_text(encoding='utf-8') for path in paths))
    except (OSError, ValueError):
        pass
    limits = (text.split() for text in texts)  # microseconds in each period
    return [-(-int(quota) // int(period)) for quota, period in limits if quota not in ('max', '-1')]


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Returns a pool of processes that use one OpenCV thread each and end with this process.

    This process is limited to one OpenCV thread, too: OpenCV's other threads do not survive a fork,
    and the workers would wait for them forever.
    """
    cv2.setNumThreads(1)
    return ProcessPoolExecutor(workers, initializer=_start_worker)


def _start_worker() -> None:
    """Prepares a worker: one OpenCV thread, no Ctrl-C, and an end when the parent is killed."""
    cv2.setNumThreads(1)  # in a process that was not forked
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C

    def end_with_parent() -> None:  # Python leaves the workers of a killed parent waiting
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    size: Callable[[Item], int],
    budget: int,
    workers: int = 2,
) -> Iterator[tuple[Item, 'Future[Result]']]:
    """Yields each item, in order, with the future of its result; prefetches `ahead` further items.

    Items are taken in the caller's thread when they are needed, so that `items` may be endless. At
    most `ahead` + 1 results are held, and only as many as the budget allows.

    Args:
        function: Function of an item, called in a thread.
        items: Items to process.
        ahead: Number of items in progress besides the one that was yielded last.
        size: Returns the size of an item.
        budget: Maximum total size of the items in progress; a larger item is processed alone.
        workers: Number of threads.
    """
    waiting: deque[tuple[Item, Future]] = deque()
    sizes: deque[int] = deque()  # of the waiting items
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                sizes.append(size(item))
                while waiting and sum(sizes) > budget:
                    sizes.popleft()
                    yield waiting.popleft()
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > ahead:
                    sizes.popleft()
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()
