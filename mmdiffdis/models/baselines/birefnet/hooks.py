"""Schedule of BiRefNet's loss weights."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from .segmentor import BiRefNetLoss


@HOOKS.register_module()
class RegionFinetuneHook(Hook):
    """Trains the last epochs without cross entropy, with IoU and SSIM alone.

    In each of these epochs the weight of the IoU is half of that in the epoch before, so that
    SSIM remains. (Released training: 40 epochs for DIS5K.)

    Args:
        epochs: Number of these epochs, at the end of the training.
    """

    def __init__(self, epochs: int = 40) -> None:
        self.epochs = epochs

    def before_train(self, runner: Runner) -> None:
        """Stores the initial weights, which a resumed training has, too."""
        loss = self._loss(runner)
        self._bce, self._iou = loss.bce, loss.iou

    def before_train_epoch(self, runner: Runner) -> None:
        """Sets the weights of this epoch."""
        loss = self._loss(runner)
        halvings = max(0, runner.epoch + 1 - (runner.max_epochs - self.epochs))
        loss.bce = 0.0 if halvings else self._bce
        loss.iou = self._iou * 0.5**halvings

    @staticmethod
    def _loss(runner: Runner) -> BiRefNetLoss:
        model = runner.model
        return (model.module if is_model_wrapper(model) else model).criterion
