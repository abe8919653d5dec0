"""Segmentor and published names of MVANet."""

from typing import Any, ClassVar

from mmseg.registry import MODELS
from torch import Tensor

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.conv import pad_to_multiple
from ..layers.swin import SWIN_LAYOUT, SWIN_PATTERNS
from ..losses import structure_loss
from .network import SIZE_DIVISOR, MVANetOutputs, MVANetwork

_LOCALISATION = {
    'attention.0.': 'overview_attention.',
    'attention.{+1}.': 'quadrant_attentions.{}.',
    'linear5.': 'overview_feed_forward.0.',
    'linear6.': 'overview_feed_forward.3.',
    'linear3.': 'quadrant_feed_forward.0.',
    'linear4.': 'quadrant_feed_forward.3.',
    'norm1.': 'attention_norm.',
    'norm2.': 'feed_forward_norm.',
}


@MODELS.register_module()
class MVANet(DISBaseline):
    """Multi-view aggregation network.

    Attributes:
        LAYERS: Arguments of `MVANetwork`, in which a subclass may differ.

    Args:
        backbone: Config of mmseg's `SwinTransformer`.
        channels: Width of the decoder.
        head_channels: Width of the head's inner layers.
        **kwargs: Arguments of `DISBaseline`.
    """

    LAYERS: ClassVar[dict[str, Any]] = {}
    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            **prefixed(SWIN_PATTERNS, 'backbone.', 'network.backbone.'),
            'output{+1}.': 'network.laterals.{}.',
            'sideout{+1}.0.': 'network.sides.{}.',
            'conv{+1}.': 'network.convs.{}.',
            'dec_blk{+1}.sal_conv.': 'network.refinements.{}.salience.',
            'dec_blk{+1}.attention.': 'network.refinements.{}.attentions.',
            'dec_blk{+1}.linear3.': 'network.refinements.{}.feed_forward.0.',
            'dec_blk{+1}.linear4.': 'network.refinements.{}.feed_forward.3.',
            'dec_blk{+1}.norm1.': 'network.refinements.{}.attention_norm.',
            'dec_blk{+1}.norm2.': 'network.refinements.{}.feed_forward_norm.',
            **prefixed(_LOCALISATION, 'multifieldcrossatt.', 'network.localisation.'),
            'insmask_head.': 'network.head.',
            'shallow.0.': 'network.details.',
            'upsample1.': 'network.enlarge_first.',
            'upsample2.': 'network.enlarge_second.',
            'output.0.': 'network.output.',
            '': 'network.',
        },
        layout=SWIN_LAYOUT,
    )

    def __init__(self, backbone: dict, channels: int = 128, head_channels: int = 384, **kwargs):
        network = MVANetwork(backbone, channels, head_channels, **self.LAYERS)
        super().__init__(network, **kwargs)

    def losses(self, outputs: MVANetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_mask', 'loss_near', 'loss_far' and 'loss_attention', structure losses.

        The attention goes into its loss as if it were logits, as in the release.
        """
        padded = pad_to_multiple(targets['mask'], SIZE_DIVISOR)
        near, far, attention = (
            sum(structure_loss(level, padded) for level in maps)
            for maps in (outputs.near, outputs.far, outputs.attention)
        )
        return dict(
            loss_mask=structure_loss(outputs.logits, targets['mask']),
            loss_near=near,
            loss_far=0.3 * far,
            loss_attention=0.3 * attention,
        )

    def probability(self, outputs: MVANetOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.logits.sigmoid()
