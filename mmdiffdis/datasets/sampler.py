"""Sampling that depends on the seed alone and can resume at any position."""

import itertools
from collections.abc import Iterator, Sequence, Sized
from functools import partial

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset, Sampler

from ..utils.seeding import seed_streams, seed_words


class Draw(int):
    """An int that carries the seed of this draw: the index of a sample and its random stream.

    Args:
        index: Index of the sample.
        stream: Arguments of `seed_streams`.
    """

    stream: tuple[int | str, ...]

    def __new__(cls, index: int, stream: tuple[int | str, ...]):
        draw = super().__new__(cls, index)
        draw.stream = stream
        return draw

    def __getnewargs__(self) -> tuple[int, tuple]:
        return int(self), self.stream


def seeded_items(dataset: Dataset, indices: Sequence[int]) -> list:
    """Returns samples of a data set, each loaded after the generators are seeded from its `Draw`.

    A plain index does not seed.
    """
    samples = []
    for index in indices:
        if isinstance(index, Draw):
            seed_streams(*index.stream)
        samples.append(dataset[int(index)])
    return samples


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """Sampler whose order and random streams are functions of the seed and the position.

    Of W processes, process r takes the positions r, r + W, ..., so that the global batches do not
    depend on the number of processes. `DefaultSampler` and `InfiniteSampler` cannot resume at a
    position, and with them the augmentation depends on the number of samples that a worker has
    loaded before. The samples of any map-style data set, wrapped or not, are seeded: data loaders
    ask a data set that has `__getitems__`, which is set here, for a batch.

    Args:
        dataset: Data set to sample from.
        shuffle: Whether each round has a new order; False: the order of the data set.
        endless: Whether to go on for ever, for `IterBasedTrainLoop`; False: one round, for
            `EpochBasedTrainLoop`, its first samples repeated until every process has as many.
        seed: Seed; None: a random one, the same in all processes.

    Attributes:
        start: Position in the whole training at which iteration begins.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, endless: bool = False, seed: int | None = None
    ):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if hasattr(dataset, '__dict__'):  # no range or list
            dataset.__getitems__ = partial(seeded_items, dataset)
        self.shuffle, self.endless = shuffle, endless
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def __len__(self) -> int:
        """Returns the number of samples of one round in this process."""
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        positions = itertools.count(self.start + self.rank, self.world_size)
        round_size = self.size if self.endless else len(self) * self.world_size
        current_round, order = None, None
        for position in positions if self.endless else itertools.islice(positions, len(self)):
            number, i = divmod(position, round_size)
            if number != current_round:
                current_round, order = number, self._order(number)
            yield Draw(int(order[i % self.size]), (self.seed, 'draw', number, i))

    def set_epoch(self, epoch: int) -> None:
        """Moves to the start of a round; does nothing if the order is endless."""
        if not self.endless:
            self.start = epoch * len(self) * self.world_size

    def _order(self, number: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        # NumPy promises not to change the stream of its legacy generator
        words = seed_words(self.seed, 'order', number)
        return np.random.RandomState(words).permutation(self.size)
