"""Work that goes on in threads while its results are waited for in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')
Result = TypeVar('Result')


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int, workers: int = 2
) -> Iterator[tuple[Item, 'Future[Result]']]:
    """Each item, in order, with the future of its result; `ahead` further ones are under way.

    Items are asked for as they are needed, in the caller's thread: an endless generator is fine,
    and no more than `ahead` + 1 results are held.
    """
    waiting: deque[tuple[Item, Future]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > ahead:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()
