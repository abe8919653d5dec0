"""Segmentor, losses and published names of InSPyReNet."""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.conv import pad_to_multiple
from ..layers.pyramid import reduce
from ..layers.swin import SWIN_LAYOUT, SWIN_PATTERNS
from ..losses import border_weight
from .network import SIZE_DIVISOR, InSPyReNetOutputs, InSPyReNetwork


def saliency_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Returns weighted cross entropy plus 1 - IoU, both of each pixel and then averaged.

    Unlike in `structure_loss`, the weights are not normalised, and the IoU has none.

    Args:
        logits: [B, 1, H, W].
        target: [B, 1, H, W] in [0, 1].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, border_weight(target))
    probability = logits.sigmoid()
    intersection = probability * target
    iou = (intersection + 1) / (probability + target - intersection + 1)
    return entropy + (1 - iou).mean()


@MODELS.register_module()
class InSPyReNet(DISBaseline):
    """Inverse saliency pyramid reconstruction network.

    Args:
        backbone: Config of mmseg's `SwinTransformer`, or of a `Res2Net`.
        channels: Width of the decoder.
        base_size: Size (H, W) of the training images, multiples of 32.
        **kwargs: Arguments of `DISBaseline`. `test_cfg.blend_above`: shorter side, in pixels, above
            which pyramids of two sizes are blended, see `InSPyReNetwork.forward`; None: never.
    """

    TEST_DEFAULTS = dict(**DISBaseline.TEST_DEFAULTS, blend_above=None)
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {**prefixed(SWIN_PATTERNS, 'backbone.', 'network.backbone.'), '': 'network.'},
        layout=SWIN_LAYOUT,
    )

    def __init__(
        self,
        backbone: dict,
        channels: int = 64,
        base_size: Sequence[int] = (1024, 1024),
        **kwargs,
    ):
        super().__init__(InSPyReNetwork(backbone, channels, base_size), **kwargs)

    def run(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> InSPyReNetOutputs:
        """Returns the network's outputs; in training, pyramids are not blended."""
        blend_above = None if self.training else self.test_cfg['blend_above']
        return self.network(inputs, blend_above)

    def probability(self, outputs: InSPyReNetOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, h, w]."""
        return outputs.logits.sigmoid()

    def losses(self, outputs: InSPyReNetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns losses of the levels, which the pyramid of the mask supervises.

        Returns:
            'loss_mask', 'loss_coarse' (d1 to d3) and 'loss_consistency', of each level with the
            finer one.
        """
        levels = [pad_to_multiple(targets['mask'], SIZE_DIVISOR)]
        size = levels[0].shape[-2:]
        saliency = outputs.pyramid.saliency
        while len(levels) < len(saliency):
            levels.append(reduce(levels[-1]))
        mask, *coarse = [
            saliency_loss(*(F.interpolate(x, size, mode='nearest') for x in pair))
            for pair in zip(saliency, levels, strict=True)
        ]
        consistency = [F.l1_loss(low, reduce(high).detach()) for high, low in pairwise(saliency)]
        return dict(
            loss_mask=mask,
            loss_coarse=sum(coarse),
            loss_consistency=1e-4 * sum(consistency),
        )
