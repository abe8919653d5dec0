"""Process pools, and ordered prefetching with threads."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TypeVar

import cv2


def process_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of processes, with one thread of OpenCV each, that end with this one.

    OpenCV has one thread here, too, from then on: others would not survive a fork, and the
    processes would wait for them.
    """
    cv2.setNumThreads(1)
    return ProcessPoolExecutor(workers, initializer=_start_worker)


def _start_worker() -> None:
    """Python leaves a pool's processes waiting for ever when their parent is killed.

    And Ctrl-C reaches them, too, while it is for the parent to say what follows.
    """
    cv2.setNumThreads(1)  # of a process that was not forked
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


Item = TypeVar('Item')

Result = TypeVar('Result')


def map_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
    size: Callable[[Item], int],
    budget: int,
    workers: int = 2,
) -> Iterator[tuple[Item, 'Future[Result]']]:
    """Each item, in order, with the future of its result; `ahead` further ones are under way.

    Items are asked for as they are needed, in the caller's thread: an endless generator is fine,
    and no more than `ahead` + 1 results are held, nor more than the budget allows.

    Args:
        function: what is done to each item, in a thread.
        items: what it is done to.
        ahead: how many items may be under way beside the one that was given out.
        size: what an item takes of the budget.
        budget: total size of the items under way; one that is larger goes alone.
        workers: number of threads.
    """
    waiting: deque[tuple[Item, Future]] = deque()
    sizes: deque[int] = deque()  # of those waiting
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
