"""Segmentor of U2-Net."""

from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ..base import DISBaseline
from .network import U2NetNetwork


@MODELS.register_module()
class U2Net(DISBaseline):
    """U2-Net, or its small version U2-Net-p.

    Args:
        width: Channels of the first stage; 64 in the paper.
        light: Whether it is U2-Net-p, whose stages all have `width` channels.
        **kwargs: Arguments of `DISBaseline`.
    """

    def __init__(self, width: int = 64, light: bool = False, **kwargs):
        super().__init__(U2NetNetwork(width, light), **kwargs)

    def probability(self, outputs: list[Tensor]) -> Tensor:
        """Returns the probability of the fused output, [B, 1, H, W]."""
        return outputs[0].sigmoid()

    def losses(self, outputs: list[Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_fused' and 'loss_side1' to 'loss_side6': cross entropies of weight 1."""
        names = ['loss_fused', *(f'loss_side{i}' for i in range(1, 7))]
        return {
            name: F.binary_cross_entropy_with_logits(logit, targets['mask'])
            for name, logit in zip(names, outputs, strict=True)
        }
