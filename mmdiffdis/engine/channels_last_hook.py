"""Hook that trains in the channels-last memory format."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Brings the weights to the channels-last memory format, in which GPUs convolve faster.

    Convolutions follow the format of their weights, so the images may keep theirs. Checkpoints of
    both formats load alike.
    """

    def before_train(self, runner: Runner) -> None:
        """Converts the model."""
        runner.model.to(memory_format=torch.channels_last)
