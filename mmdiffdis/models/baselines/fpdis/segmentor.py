"""Segmentor of FP-DIS."""

from mmseg.registry import MODELS
from torch import Tensor

from ..base import DISBaseline
from ..losses import structure_loss
from .network import FPDISNetwork


@MODELS.register_module()
class FPDIS(DISBaseline):
    """Segmentation with frequency priors, from the paper; no weights were published.

    Args:
        backbone: Config of mmseg's `ResNet`.
        channels: Width of all levels.
        groups: Groups of channels that are harmonised.
        filter_size: Height and width of the learnt filters.
        **kwargs: Arguments of `DISBaseline`.
    """

    def __init__(
        self,
        backbone: dict,
        channels: int = 64,
        groups: int = 4,
        filter_size: int = 64,
        **kwargs,
    ):
        super().__init__(FPDISNetwork(backbone, channels, groups, filter_size), **kwargs)

    def losses(self, outputs: list[Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_level0' to 'loss_level4', the structure losses from coarse to fine."""
        mask = targets['mask']
        return {f'loss_level{i}': structure_loss(x, mask) for i, x in enumerate(outputs)}

    def probability(self, outputs: list[Tensor]) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs[-1].sigmoid()
