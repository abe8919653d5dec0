"""Makes the processes of a training validate the same model."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Before a validation, gives all processes the first one's buffers, which checkpoints hold too.

    Running statistics of BatchNorm drift apart where each process has its own: without `sync_bn`,
    and on CPUs, for which there is no synchronised BatchNorm.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Send and receive."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
