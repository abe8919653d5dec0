"""Segmentor, losses and published names of IFA."""

from typing import ClassVar

from mmseg.registry import MODELS
from torch import Tensor

from ....checkpoints.published import PublishedNames
from ..base import DISBaseline
from ..losses import hard_cross_entropy
from .network import IFANetwork, IFAOutputs


@MODELS.register_module()
class IFA(DISBaseline):
    """Implicit feature alignment, for the classes background and foreground.

    Args:
        backbone: Config of `ResNetV1s`.
        channels: Width of the levels.
        num_frequencies: Frequencies of rows and of columns.
        threshold: Pixels count in the losses if the probability of their class is at most this.
        min_kept: So many pixels of a batch count anyway.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            'encoder.': 'network.backbone.',
            'decoder.head.': 'network.reduce.3.',
            'decoder.enc{+1}.': 'network.reduce.{}.',
            'decoder.ifa.pos{+1}.emb': 'network.alignments.{}.frequencies',
            'decoder.ifa.imnet.': 'network.points.',
            'auxor.aux.': 'network.auxiliary.',
        }
    )

    def __init__(
        self,
        backbone: dict,
        channels: int = 256,
        num_frequencies: int = 6,
        threshold: float = 0.7,
        min_kept: int = 100_000,
        **kwargs,
    ):
        super().__init__(IFANetwork(backbone, channels, num_frequencies), **kwargs)
        self.hardness = dict(threshold=threshold, min_kept=min_kept)

    def losses(self, outputs: IFAOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_mask' and 'loss_auxiliary', the cross entropies of hard pixels."""
        labels = (targets['mask'][:, 0] > 0.5).long()
        mask, auxiliary = (hard_cross_entropy(x, labels, **self.hardness) for x in outputs)
        return dict(loss_mask=mask, loss_auxiliary=0.4 * auxiliary)

    def probability(self, outputs: IFAOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.mask.softmax(dim=1)[:, 1:]
