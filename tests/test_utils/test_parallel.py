"""Work in threads, within a budget."""

import threading

import pytest

from mmdiffdis.utils.parallel import map_ahead


def sizes_under_way(sizes: list[int], ahead: int, budget: int) -> list[list[int]]:
    """The sizes of what is under way, whenever another piece of work starts."""
    lock, held, seen = threading.Lock(), [], []

    def work(size: int) -> int:
        with lock:
            held.append(size)
            seen.append(list(held))
        return size

    results = []
    for item, future in map_ahead(work, sizes, ahead, lambda size: size, budget):
        results.append(future.result())
        assert item == results[-1]
        with lock:
            held.remove(item)
    assert results == sizes
    return seen


@pytest.mark.parametrize('ahead', [1, 3, 20])
def test_no_more_is_under_way_than_the_budget_allows(ahead):
    seen = sizes_under_way([3, 3, 9, 2, 2, 2, 2, 7], ahead, budget=6)
    # the 9 and the 7 exceed the budget, and go alone
    assert all(sum(held) <= 6 or len(held) == 1 for held in seen)
    assert all(len(held) <= ahead + 1 for held in seen)


def test_nothing_waits_without_a_reason():
    started = threading.Barrier(3, timeout=10)
    items = [1, 2, 3]
    done = map_ahead(lambda _: started.wait(), items, 2, lambda size: size, 6, workers=3)
    assert len([future.result() for _, future in done]) == 3
