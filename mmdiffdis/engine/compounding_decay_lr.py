"""The learning rate schedule of the released training."""

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmseg.registry import PARAM_SCHEDULERS


class _CompoundingDecay(_ParamScheduler):
    def __init__(self, optimizer, param_name: str, gamma: float, step_size: int, **kwargs):
        if not 0 < gamma <= 1 or step_size < 1:
            raise ValueError(
                f'gamma={gamma}, step_size={step_size}: expected 0 < gamma <= 1 and at least one '
                'epoch'
            )
        self.gamma, self.step_size = gamma, step_size
        super().__init__(optimizer, param_name, **kwargs)

    def _get_value(self) -> list[float]:
        # last_step epochs are finished; the index of the last of them is last_step - 1.
        exponent = max(self.last_step - 1, 0) // self.step_size
        return [g[self.param_name] * self.gamma**exponent for g in self.optimizer.param_groups]


@PARAM_SCHEDULERS.register_module()
class CompoundingDecayLR(LRSchedulerMixin, _CompoundingDecay):
    """Multiplies the learning rate by `gamma ** (e // step_size)` after epoch e = 0, 1, ...

    The factors compound: with 0.95 and 30, the rate is constant for 30 epochs, then shrinks by 5 %
    an epoch, from the 60th on by 9.75 % an epoch. Source: the released training of DiffDIS.

    Args:
        optimizer: Optimizer or its wrapper.
        gamma: Base of the factor, in (0, 1].
        step_size: Epochs until the exponent grows by one.
        kwargs: Arguments of MMEngine's schedulers (`begin`, `end`, `by_epoch`, `last_step`,
            `verbose`).

    Raises:
        ValueError: If `gamma` is outside (0, 1], or `step_size` is below 1.
    """
