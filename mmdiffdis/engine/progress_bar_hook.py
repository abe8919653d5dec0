"""Hook that shows a progress bar."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from tqdm import tqdm


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Shows iterations, remaining time, loss and the last validation score of a training.

    Args:
        measure: Name of the validation metric to show.
    """

    def __init__(self, measure: str = 'maxF'):
        self.measure = measure
        self.shown = {}

    def before_train(self, runner: Runner) -> None:
        """Opens the bar at the current iteration."""
        self.bar = tqdm(
            total=runner.max_iters,
            initial=runner.iter,
            desc='training',
            unit='step',
            disable=not is_main_process(),
        )

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Advances the bar."""
        self.shown['loss'] = f'{float(outputs["loss"]):.3f}'
        self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Stores the score for the next update of the bar."""
        if metrics and self.measure in metrics:
            self.shown[self.measure] = f'{metrics[self.measure]:.3f}'

    def after_train(self, runner: Runner) -> None:
        """Closes the bar."""
        self.bar.close()
