"""The learning rate schedule of PGNet's released training."""

from math import cos, pi

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import LinearParamScheduler
from mmseg.registry import PARAM_SCHEDULERS


class _PGNetSchedule(LinearParamScheduler):
    def _get_value(self) -> list[float]:
        half = (self.end - self.begin) / 2
        factor = (1 + cos(pi * (self.last_step / half - 1))) / 2 * min(1, self.last_step / half)
        return [value * factor for value in self.base_values]


@PARAM_SCHEDULERS.register_module()
class PGNetLR(LRSchedulerMixin, _PGNetSchedule):
    """Lets the learning rate rise from 0 in the first half of the steps, and fall in the second.

    Both halves follow a cosine; the first is multiplied by a line from 0 to 1 as well.

    Args:
        optimizer: Optimizer or its wrapper.
        kwargs: Arguments of MMEngine's schedulers; `end` is required, and
            `convert_to_iter_based=True` makes steps of iterations.
    """
