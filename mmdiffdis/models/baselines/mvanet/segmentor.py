"""Segmentor and published names of MVANet."""

from typing import ClassVar

from mmseg.registry import MODELS
from torch import Tensor

from ..base import DISBaseline
from ..layers.conv import pad_to_multiple
from ..layers.swin import SWIN_PREFIXES, to_mmseg_order, to_published_order
from ..losses import structure_loss
from .network import SIZE_DIVISOR, MVANetOutputs, MVANetwork


@MODELS.register_module()
class MVANet(DISBaseline):
    """Multi-view aggregation network.

    Args:
        backbone: Config of mmseg's `SwinTransformer`.
        channels: Width of the decoder.
        head_channels: Width of the head's inner layers.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED_PREFIXES: ClassVar[dict[str, str]] = {
        **{f'backbone.{t}': f'network.backbone.{o}' for t, o in SWIN_PREFIXES.items()},
        **{
            theirs: f'network.{ours}'
            for i in range(5)
            for theirs, ours in {
                f'output{i + 1}.': f'laterals.{i}.',
                f'sideout{i + 1}.0.': f'sides.{i}.',
                f'conv{i + 1}.': f'convs.{i}.',
                f'dec_blk{i + 1}.sal_conv.': f'refinements.{i}.salience.',
                f'dec_blk{i + 1}.attention.': f'refinements.{i}.attentions.',
                f'dec_blk{i + 1}.linear3.': f'refinements.{i}.feed_forward.0.',
                f'dec_blk{i + 1}.linear4.': f'refinements.{i}.feed_forward.3.',
                f'dec_blk{i + 1}.norm1.': f'refinements.{i}.attention_norm.',
                f'dec_blk{i + 1}.norm2.': f'refinements.{i}.feed_forward_norm.',
            }.items()
        },
        'multifieldcrossatt.attention.0.': 'network.localisation.overview_attention.',
        **{
            f'multifieldcrossatt.attention.{i + 1}.': f'network.localisation.{ours}.'
            for i, ours in enumerate(f'quadrant_attentions.{i}' for i in range(4))
        },
        'multifieldcrossatt.linear5.': 'network.localisation.overview_feed_forward.0.',
        'multifieldcrossatt.linear6.': 'network.localisation.overview_feed_forward.3.',
        'multifieldcrossatt.linear3.': 'network.localisation.quadrant_feed_forward.0.',
        'multifieldcrossatt.linear4.': 'network.localisation.quadrant_feed_forward.3.',
        'multifieldcrossatt.norm1.': 'network.localisation.attention_norm.',
        'multifieldcrossatt.norm2.': 'network.localisation.feed_forward_norm.',
        'insmask_head.': 'network.head.',
        'shallow.0.': 'network.details.',
        'upsample1.': 'network.enlarge_first.',
        'upsample2.': 'network.enlarge_second.',
        'output.0.': 'network.output.',
        '': 'network.',
    }

    def __init__(self, backbone: dict, channels: int = 128, head_channels: int = 384, **kwargs):
        super().__init__(MVANetwork(backbone, channels, head_channels), **kwargs)

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

    def from_published(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under our names, in mmseg's order of merged patches."""
        return to_mmseg_order(super().from_published(weights))

    def to_published(self) -> dict[str, Tensor]:
        """The inverse of :meth:`from_published`."""
        return to_published_order(super().to_published())
