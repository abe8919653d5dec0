"""Work that goes on in threads while its results are waited for in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
