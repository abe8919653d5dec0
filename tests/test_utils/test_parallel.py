"""Ordered prefetching in threads, within a budget."""

import threading

import pytest

from mmdiffdis.utils.parallel import map_ahead


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
