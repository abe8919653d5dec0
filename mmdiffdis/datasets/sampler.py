"""An order of training samples that depends on the seed alone, and can be entered anywhere."""

import itertools
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..utils.seeding import seed_streams, seed_words


class Draw(int):
    """A sample's index, with the random stream of this one drawing of it, for its augmentations.

    A data set that does not know of it sees a number. What MMEngine's `ConcatDataset` and
    `RepeatDataset` make of it is a draw still.

    Args:
        index: the sample.
        stream: parts that :func:`seed_streams` takes.
    """

    stream: tuple[int | str, ...]

    def __new__(cls, index: int, stream: tuple[int | str, ...]):
        draw = super().__new__(cls, index)
        draw.stream = stream
        return draw

    def __getnewargs__(self) -> tuple[int, tuple]:
        return int(self), self.stream

    def __sub__(self, other: int) -> 'Draw':
        return Draw(int(self) - other, self.stream)

    def __mod__(self, other: int) -> 'Draw':
        return Draw(int(self) % other, self.stream)


def seed_draw(index: int) -> None:
    """Seeds the global generators for the drawing of a sample, if `index` is a :class:`Draw`."""
    if isinstance(index, Draw):
        seed_streams(*index.stream)


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """Draws samples in an order, and with random streams, of the seed and the position alone.

    Of W processes, number r takes the positions r, r + W, ...: the global batches are the same
    whatever the number of processes. `DefaultSampler` and `InfiniteSampler` cannot be entered at a
    position, and with them the augmentations depend on how many samples a worker has loaded.

    Args:
        dataset: what is drawn from.
        shuffle: a new order every round; False: that of the data set.
        endless: go on for ever, for `IterBasedTrainLoop`; False: one round, for
            `EpochBasedTrainLoop`, its first samples repeated until every process has as many.
        seed: of everything; None: one drawn by chance, the same in all processes.

    Attributes:
        start: the position in the whole training at which iterating begins.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, endless: bool = False, seed: int | None = None
    ):
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle, self.endless = shuffle, endless
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def __len__(self) -> int:
        """Samples of one round that this process takes."""
        return -(-self.size // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        positions = itertools.count(self.start + self.rank, self.world_size)
        round_size = self.size if self.endless else len(self) * self.world_size
        current, order = None, None
        for position in positions if self.endless else itertools.islice(positions, len(self)):
            number, i = divmod(position, round_size)
            if number != current:
                current, order = number, self._order(number)
            yield Draw(int(order[i % self.size]), (self.seed, 'draw', number, i))

    def set_epoch(self, epoch: int) -> None:
        """Begin with a round; an endless order has none to begin with."""
        if not self.endless:
            self.start = epoch * len(self) * self.world_size

    def _order(self, number: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.size)
        # The legacy generator: the one stream that NumPy promises never to change.
        words = seed_words(self.seed, 'order', number)
        return np.random.RandomState(words).permutation(self.size)
