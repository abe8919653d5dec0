"""Hook that ends a training without improvement, also one that was interrupted in between."""

import logging

from mmengine.hooks import EarlyStoppingHook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class DISEarlyStoppingHook(EarlyStoppingHook):
    """MMEngine's `EarlyStoppingHook` with its state in checkpoints, for scores in [0, 1].

    MMEngine's asks for an improvement by 0.1, more than a training makes after its first
    validations, and a resumed training would start to count anew. It also builds the training and
    its data set when a model is only scored.

    Args:
        monitor: Name of the score.
        min_delta: Smallest improvement that counts.
        kwargs: Arguments of `EarlyStoppingHook` (`rule`, `patience`, ...).
    """

    def __init__(self, monitor: str, min_delta: float = 1e-6, **kwargs):
        super().__init__(monitor, min_delta=min_delta, **kwargs)

    def before_run(self, runner: Runner) -> None:
        """Leaves the check of the training's loop, which builds it, to `before_train`."""

    def before_train(self, runner: Runner) -> None:
        """Checks that the training's loop can be stopped."""
        super().before_run(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the best score, and the number of validations since then, to the checkpoint."""
        checkpoint['early_stopping'] = dict(
            best_score=float(self.best_score), wait_count=self.wait_count
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Takes them from the checkpoint of a training that is resumed."""
        if not runner._resume:
            return
        state = checkpoint.get('early_stopping')
        if state is None:
            print_log(
                'the checkpoint has no state of early stopping: the count of validations without '
                'improvement starts anew',
                logger='current',
                level=logging.WARNING,
            )
            return
        self.best_score, self.wait_count = state['best_score'], state['wait_count']
