"""The order of samples and their random streams."""

import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader, Dataset, Subset

from mmdiffdis.datasets import DIS5KDataset, SeededSampler, sampler
from mmdiffdis.datasets.sampler import Draw, seeded_items
from mmdiffdis.utils.seeding import seed_streams, seed_words


class Letters(Dataset):
    """Five letters, each with a new random number at every access."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return 'abcde'[index], np.random.rand()


def draws(count: int, rank: int = 0, processes: int = 1, start: int = 0, epoch: int = 0, **kwargs):
    """Returns (index, stream) of the first draws of one of several processes."""
    order = SeededSampler(range(5), **{'endless': True, 'seed': 3, **kwargs})
    order.rank, order.world_size, order.start = rank, processes, start
    order.set_epoch(epoch)
    return [(int(draw), draw.stream) for draw in itertools.islice(order, count)]


def test_each_round_has_its_own_order():
    indices = [index for index, _ in draws(20)]
    rounds = [indices[i : i + 5] for i in range(0, 20, 5)]
    assert all(sorted(order) == [*range(5)] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1
    assert [index for index, _ in draws(7, shuffle=False)] == [0, 1, 2, 3, 4, 0, 1]


def test_order_depends_on_the_seed_alone():
    assert draws(20) == draws(20)
    assert draws(20) != draws(20, seed=4)
    torch.manual_seed(1)
    np.random.seed(1)
    assert draws(3)[0] == (
        int(np.random.RandomState(seed_words(3, 'order', 0)).permutation(5)[0]),
        (3, 'draw', 0, 0),
    )


def test_streams_never_repeat():
    streams = [stream for _, stream in draws(20)]
    assert len({*streams}) == 20


@pytest.mark.parametrize('start', [0, 3, 5, 12])
def test_resuming_at_a_position_continues_the_order(start):
    assert draws(20)[start:] == draws(20 - start, start=start)


@pytest.mark.parametrize('processes', [2, 3])
def test_processes_share_the_positions(processes):
    parts = [draws(6, rank, processes) for rank in range(processes)]
    together = [draw for step in zip(*parts, strict=True) for draw in step]
    assert together == draws(6 * processes)


@pytest.mark.parametrize('processes', [1, 2, 3])
def test_epochs_are_filled_up_for_the_last_process(processes):
    """The first samples of the epoch are repeated, with other random streams."""
    for epoch in (0, 2):
        parts = [draws(99, r, processes, endless=False, epoch=epoch) for r in range(processes)]
        assert {len(part) for part in parts} == {-(-5 // processes)}
        together = [draw for step in zip(*parts, strict=True) for draw in step]
        assert together[:5] == draws(99, endless=False, epoch=epoch)
        assert sorted(index for index, _ in together[:5]) == [*range(5)]
        extra = [index for index, _ in together[5:]]
        assert extra == [index for index, _ in together[: len(extra)]]
        assert len({stream for _, stream in together}) == len(together)


def test_epochs_differ():
    first, second = (draws(5, endless=False, epoch=epoch) for epoch in (0, 1))
    assert not {stream for _, stream in first} & {stream for _, stream in second}
    assert draws(5, start=5, epoch=7) == draws(10)[5:]  # an endless order has no epochs


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_samples_do_not_depend_on_the_number_of_workers(workers):
    def load(workers):
        letters = Letters()
        order = SeededSampler(letters, seed=3, endless=True)
        loader = DataLoader(letters, 2, sampler=order, num_workers=workers)
        return [
            (letter, float(number))
            for letters, numbers in itertools.islice(loader, 6)
            for letter, number in zip(letters, numbers, strict=True)
        ]

    samples = load(workers)
    assert samples == load(0)
    assert len({number for _, number in samples}) == 12


def test_draw_is_an_int_that_keeps_its_stream():
    draw = Draw(3, (0, 'draw', 1, 2))
    assert draw == 3 and 'abcde'[draw] == 'd'
    copied = pickle.loads(pickle.dumps(draw))
    assert isinstance(copied, Draw) and copied.stream == draw.stream


def test_plain_index_does_not_seed():
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    seeded_items('abcde', [3])
    assert torch.rand(()) == expected


def test_seed_of_all_generators():
    def numbers(*parts):
        seed_streams(*parts)
        return random.random(), np.random.rand(), float(torch.rand(()))

    first = numbers(0, 'iteration', 1, 0)
    assert first == numbers(0, 'iteration', 1, 0)
    for parts in ((1, 'iteration', 1, 0), (0, 'iteration', 2, 0), (0, 'iteration', 1, 1)):
        assert not {*first} & {*numbers(*parts)}


class Categories(BaseDataset):
    """Letters in two categories, as MMEngine's wrappers ask for."""

    def load_data_list(self):
        return [dict(letter=letter) for letter in 'abcde']

    def __getitem__(self, index):
        return self.get_data_info(index)['letter'], np.random.rand()

    def get_cat_ids(self, index):
        return [int(self.get_data_info(index)['letter'] in 'ae')]


WRAPPERS = {
    'none': Categories,
    'concatenated': lambda: ConcatDataset([Categories(), Categories()]),
    'repeated': lambda: RepeatDataset(Categories(), 2),
    'class-balanced': lambda: ClassBalancedDataset(Categories(), 0.7),
    'torch': lambda: Subset(Categories(), [3, 1, 4]),
}


@pytest.mark.slow
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_augmentation_depends_on_the_draw_in_any_wrapper(wrapper):
    def load(start, count):
        dataset = WRAPPERS[wrapper]()
        order = SeededSampler(dataset, seed=3, endless=True)
        order.start = start
        assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)  # for spawned workers
        loader = DataLoader(dataset, 1, sampler=order, collate_fn=lambda batch: batch[0])
        return [*itertools.islice(loader, count)]

    np.random.seed(0)
    whole = load(0, 8)
    np.random.seed(1)
    assert load(3, 5) == whole[3:]
    assert len({number for _, number in whole}) == 8


def test_augmentation_of_images_depends_on_the_draw(tmp_path, write_set):
    write_set(tmp_path, 'DIS-TR')
    load = [dict(type='LoadDISImage'), dict(type='LoadDISAnnotations')]
    dataset = DIS5KDataset(str(tmp_path), 'DIS-TR', pipeline=[*load, dict(type='DISColorJitter')])
    draws = [Draw(1, (0, i)) for i in (0, 0, 1)]
    first, again, other = (sample['img'] for sample in seeded_items(dataset, draws))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_default_seed_is_shared_by_all_processes(monkeypatch):
    monkeypatch.setattr(sampler, 'sync_random_seed', lambda: 17)
    assert SeededSampler(range(5)).seed == 17
