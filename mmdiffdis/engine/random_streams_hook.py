"""Makes a training a function of its seed: repeatable, and exact when resumed."""

import itertools

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from ..datasets.sampler import SeededSampler
from ..utils.seeding import seed_streams


@HOOKS.register_module()
class RandomStreamsHook(Hook):
    """Derives all random numbers of a training from the seed, the iteration and the process.

    Before each iteration it seeds the generators of Python, NumPy and torch, which noise, CutMix
    and dropout draw from. A `SeededSampler` handles the order and the augmentations of samples; the
    hook sets its seed and, for a loop of iterations, `endless` and the position at which a resumed
    training continues. MMEngine alone would load all samples up to there again, with generators
    that start anew.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Reads the seed (when resuming, from the checkpoint) and sets up the sampler."""
        seeds = [runner.seed]
        broadcast_object_list(seeds)  # from process 0: the others may have added their rank
        [self.seed] = seeds
        loader = runner.train_dataloader
        if not isinstance(loader.sampler, SeededSampler):
            return
        loader.sampler.seed = self.seed
        loader.sampler.endless = isinstance(runner.train_loop, IterBasedTrainLoop)
        if loader.sampler.endless:
            batch_size = loader.batch_sampler.batch_size * runner.world_size
            loader.sampler.start = runner.iter * batch_size
            # The loop made its iterator before the sampler was set up, and it begins by discarding
            # a batch per past iteration: placeholders stand in for batches that need no loading.
            discarded = itertools.repeat(None, runner.iter)
            runner.train_loop.dataloader_iterator = itertools.chain(discarded, iter(loader))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seeds the generators."""
        seed_streams(self.seed, 'iteration', runner.iter, runner.rank)
