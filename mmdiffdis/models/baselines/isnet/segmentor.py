"""Segmentors of IS-Net's two training stages."""

from typing import ClassVar

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames
from ....structures import stack_gt
from ..base import DISBaseline
from .network import ISNetGTEncoderNetwork, ISNetNetwork, ISNetOutputs


def side_losses(outputs: ISNetOutputs, mask: Tensor) -> dict[str, Tensor]:
    """Returns 'loss_side1' to 'loss_side6': cross entropy of each side output."""
    return {
        f'loss_side{i}': F.binary_cross_entropy_with_logits(logit, mask)
        for i, logit in enumerate(outputs.logits, start=1)
    }


@MODELS.register_module()
class ISNetGTEncoder(DISBaseline):
    """First training stage: auto-encoder of ground-truth masks at the size of the images.

    Its prediction is the reconstructed ground truth.

    Args:
        width: Channels of the first stage; 64 in the paper.
        **kwargs: Arguments of `DISBaseline`.
    """

    def __init__(self, width: int = 64, **kwargs):
        super().__init__(ISNetGTEncoderNetwork(width), **kwargs)

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> ISNetOutputs:
        """Returns the network's outputs for the ground-truth masks, resized to the images' size.

        Raises:
            ValueError: If there are no ground-truth masks.
        """
        if data_samples is None:
            raise ValueError(
                'data_samples=None: expected samples with `gt_alpha`, because ISNetGTEncoder '
                'encodes ground-truth masks'
            )
        masks = [stack_gt('mask', [sample]) for sample in data_samples]
        size = inputs.shape[-2:]
        resized = [F.interpolate(mask, size, mode='bilinear', antialias=True) for mask in masks]
        return self.network(torch.cat(resized))

    def probability(self, outputs: ISNetOutputs) -> Tensor:
        """Returns the probability of the first side output, [B, 1, H, W]."""
        return outputs.logits[0].sigmoid()

    def losses(self, outputs: ISNetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `side_losses`."""
        return side_losses(outputs, targets['mask'])


@MODELS.register_module()
class ISNet(DISBaseline):
    """Second training stage, and the segmentor.

    Args:
        width: Channels of the first stage; 64 in the paper.
        gt_encoder: Config of an `ISNetGTEncoder` of the same width, whose features of the true
            mask supervise the features of the image; None: no such supervision. It is not
            trained: its `init_cfg` gives the weights of the first training stage.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {'': 'network.'}, training_only=('gt_encoder.',)
    )

    def __init__(self, width: int = 64, gt_encoder: dict | None = None, **kwargs):
        super().__init__(ISNetNetwork(width), **kwargs)
        self.gt_encoder = MODELS.build(gt_encoder) if gt_encoder else None
        if self.gt_encoder is not None:
            self.gt_encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> 'ISNet':
        """Sets the mode, except that the encoder of masks keeps its running statistics."""
        super().train(mode)
        if self.gt_encoder is not None:
            self.gt_encoder.eval()
        return self

    def probability(self, outputs: ISNetOutputs) -> Tensor:
        """Returns the probability of the first side output, [B, 1, H, W]."""
        return outputs.logits[0].sigmoid()

    def losses(self, outputs: ISNetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `side_losses` and, with an encoder of masks, those of the features.

        'loss_feature1' to 'loss_feature6' are mean squared errors. All weights are 1, as in the
        paper.
        """
        losses = side_losses(outputs, targets['mask'])
        if self.gt_encoder is not None:
            with torch.no_grad():
                expected = self.gt_encoder.network(targets['mask']).features
            pairs = zip(outputs.features, expected, strict=True)
            losses |= {
                f'loss_feature{i}': F.mse_loss(feature, target)
                for i, (feature, target) in enumerate(pairs, start=1)
            }
        return losses
