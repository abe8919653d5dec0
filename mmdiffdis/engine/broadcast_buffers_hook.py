"""Hook that gives all processes the same buffers before validation."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Broadcasts the buffers of rank 0, which checkpoints hold, before each validation.

    Without `sync_bn`, and on CPUs, for which there is no synchronised BatchNorm, the running
    statistics of BatchNorm differ from process to process.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcasts the buffers."""
        for buffer in runner.model.buffers():
            broadcast(buffer)
