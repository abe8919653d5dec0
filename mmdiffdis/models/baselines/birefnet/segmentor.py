"""BiRefNet as a segmentor."""

from typing import ClassVar

from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from ..base import DISBaseline
from ..layers.swin import to_mmseg_order, to_published_order
from .loss import BiRefNetLoss
from .network import BiRefNetwork, PatchOrder
from .published import PREFIXES

Outputs = tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]


@MODELS.register_module()
class BiRefNet(DISBaseline):
    """Bilateral reference network.

    Args:
        backbone: config of mmseg's SwinTransformer.
        patch_order: 'column-row-channel' for weights released before November 2024 and what follows
            from them, 'channel-row-column' for others; their shapes are the same. See
            :func:`.network.stack_patches`.
        width: of the decoder, see :class:`BiRefNetwork`.
        loss: weights of the losses, see :class:`BiRefNetLoss`.
        **kwargs: of :class:`DISBaseline`.
    """

    PUBLISHED_PREFIXES: ClassVar[dict[str, str]] = PREFIXES

    def __init__(
        self,
        backbone: dict,
        patch_order: PatchOrder = 'channel-row-column',
        width: int = 64,
        loss: dict | None = None,
        **kwargs,
    ):
        super().__init__(BiRefNetwork(backbone, patch_order, width), **kwargs)
        self.criterion = BiRefNetLoss(**(loss or {}))

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Outputs:
        """The images [B, 3, H, W], whose gradients are learnt, and what the network makes of them:
        see :meth:`BiRefNetwork.forward`."""
        return inputs, *self.network(inputs)

    def losses(self, outputs: Outputs, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """As :class:`BiRefNetLoss`."""
        return self.criterion(*outputs, truths['mask'])

    def probability(self, outputs: Outputs) -> Tensor:
        """Foreground probability at the inputs' size, [B, 1, H, W]."""
        _, mask, _ = outputs
        return mask.sigmoid()

    def from_published(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under our names, in mmseg's order of merged patches."""
        return to_mmseg_order(super().from_published(weights))

    def to_published(self) -> dict[str, Tensor]:
        """The inverse of :meth:`from_published`."""
        return to_published_order(super().to_published())
