"""Segmentor and published names of BSA-Net."""

from typing import ClassVar

from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..losses import bce_iou_loss
from .network import BSANetOutputs, BSANetwork

_CONTEXT = {
    'branch0.0.': 'shortcut.',
    'branch{+1}.': 'branches.{}.',
    'conv.': 'reduce.',
    'conv_cat.': 'merge.',
}


@MODELS.register_module()
class BSANet(DISBaseline):
    """Boundary-guided separated attention network. It learns an edge map besides.

    Args:
        backbone: Config of a `Res2Net`.
        channels: Width of the decoder, a multiple of 16.
        **kwargs: Arguments of `DISBaseline`.
    """

    TARGETS = ('mask', 'edge')
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            'backbone.': 'network.backbone.',
            'edge_conv{+1}.': 'network.edge.convs.{}.',
            'edge_conv_cat.': 'network.edge.merge.',
            'edge_linear.': 'network.edge.output.',
            **prefixed(_CONTEXT, 'RME{+1}.', 'network.contexts.{}.'),
            'ra{+2}1_conv.': 'network.separations.{}.region.',
            'ra{+2}_conv.': 'network.separations.{}.outside.',
            'rra{+2}_conv.': 'network.separations.{}.inside.',
            'linearr{+5}.': 'network.outputs.{}.',
            'linearr{+1}.': 'network.coarse_outputs.{}.',
            'msca{+1}.': 'network.levels.{}.weight.',
            'spade{+5}.': 'network.levels.{}.guide_inside.',
            'spade4.': 'network.coarsest_guide.',
            'spade{+1}.': 'network.levels.{}.guide_outside.',
            'SA{+1}.': 'network.shuffles.{}.',
            'fusion{+1}.cat_conv.': 'network.fusions.{}.',
        },
        unused=(
            'backbone.fc.',
            'agg.',
            'conv1.',
            'conv2.',
            'upsample',
            'msca4.',
            'ra1',
            'rra1',
            'refra',
            'linearrr',
            'fusion1.conv_upsample.',
            'fusion2.conv_upsample.',
            'fusion3.conv_upsample.',
        ),
    )

    def __init__(self, backbone: dict, channels: int = 64, **kwargs):
        super().__init__(BSANetwork(backbone, channels), **kwargs)

    def losses(self, outputs: BSANetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_mask' and 'loss_coarse', sums over four masks each, and 'loss_edge'."""
        masks, coarse = (
            sum(bce_iou_loss(logits, targets['mask']) for logits in levels)
            for levels in (outputs.masks, outputs.coarse_masks)
        )
        edge = F.binary_cross_entropy_with_logits(outputs.edge, targets['edge'])
        return dict(loss_mask=masks, loss_coarse=coarse, loss_edge=edge)

    def probability(self, outputs: BSANetOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.masks[0].sigmoid()
