"""Hook that stops a training whose loss is not finite."""

import math
from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops the training at the first loss that is not finite, before a checkpoint is written.

    Raises:
        FloatingPointError: If a loss is not finite; names the losses, the iteration and the files
            of the batch.
    """

    priority = 'VERY_HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs=None
    ) -> None:
        """Checks the losses."""
        losses = {name: float(value.detach()) for name, value in outputs.items() if 'loss' in name}
        if all(map(math.isfinite, losses.values())):
            return
        raise FloatingPointError(
            f'{", ".join(f"{name}={value:.4g}" for name, value in losses.items())} in iteration '
            f'{runner.iter + 1}, whose batch was {", ".join(_files(data_batch)) or "without files"}'
            '; check these files (tools/analysis_tools/check_dataset.py), or lower the learning '
            'rate, then --resume'
        )


def _files(batch: dict | None) -> list[str]:
    samples = batch.get('data_samples', []) if isinstance(batch, Mapping) else []
    return [path for sample in samples if (path := sample.get('img_path'))]
