"""Makes a training a function of its seed: repeatable, and exact after an interruption."""

import itertools

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from ..datasets.sampler import SeededSampler
from ..utils.seeding import seed_streams


@HOOKS.register_module()
class RandomStreamsHook(Hook):
    """Ties every random number of a training to the seed, the iteration and the process.

    Before each iteration it seeds the generators of Python, NumPy and torch, from which noise,
    CutMix and dropout are drawn: they differ from process to process and from iteration to
    iteration, and are the same when either comes again. The samples' order and augmentations are
    the business of :class:`SeededSampler`, which gets the seed and, in a resumed training, its
    position here: nothing is loaded twice. (MMEngine loads all the samples up to there again, and
    its generators start anew.)

    Raises:
        ValueError: in `before_train`, for an endless sampler in a loop of epochs, or the reverse.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Take the seed, a resumed training's from its checkpoint, and set the sampler."""
        seeds = [runner.seed]
        broadcast_object_list(seeds)  # process 0's: the others may have added their rank
        [self.seed] = seeds
        loader = runner.train_dataloader
        if not isinstance(loader.sampler, SeededSampler):
            return
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        if loader.sampler.endless != by_iteration:
            raise ValueError(
                f'got SeededSampler(endless={loader.sampler.endless}) with a '
                f'{type(runner.train_loop).__name__}: expected '
                f'train_dataloader.sampler.endless={by_iteration}'
            )
        loader.sampler.seed = self.seed
        if by_iteration:
            batch = loader.batch_sampler.batch_size * runner.world_size
            loader.sampler.start = runner.iter * batch
            # The loop is about to skip as many batches as there were iterations.
            skipped = itertools.repeat(None, runner.iter)
            runner.train_loop.dataloader_iterator = itertools.chain(skipped, iter(loader))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seed the generators."""
        seed_streams(self.seed, 'iteration', runner.iter, runner.rank)
