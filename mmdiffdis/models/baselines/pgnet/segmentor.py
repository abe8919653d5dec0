"""Segmentor, losses and published names of PGNet."""

from typing import ClassVar

from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.swin import SWIN_LAYOUT, SWIN_PATTERNS
from ..losses import bce_iou_loss
from .network import PGNetOutputs, PGNetwork

_LEVEL = {'short_cut.': 'shortcut.', 'conv.': 'merge.', 'conv2.': 'refine.'}
_GRAFTING = {
    'lnx.': 'resnet_norm.',
    'lny.': 'swin_norm.',
    'qv.': 'query_value.',
    'k.': 'key.',
    'proj.': 'projection.',
    'conv2.': 'convs.',
    'conv.': 'attention_convs.0.',
    'bn.': 'attention_convs.1.',
}
_DECODER = {
    'd1.squeeze2.0.': 'reduce_s4.3.',
    'd1.squeeze2.1.': 'reduce_s4.4.',
    'd1.squeeze1.': 'reduce_s4.',
    **prefixed(_LEVEL, 'd2.', 'level_s3.'),
    'sqz_s2.': 'reduce_s2.',
    'sqz_r5.': 'reduce_r5.',
    **prefixed(_GRAFTING, 'GF.', 'grafting.'),
    **prefixed(_LEVEL, 'd3.', 'level_grafted.'),
    'd4.sqz_s1.': 'reduce_s1.',
    'd4.sqz_r4.': 'reduce_r4.',
    'd4.conv3x3.': 'sum_r4.',
    **prefixed(_LEVEL, 'd4.db2.', 'level_r4.'),
    **prefixed(_LEVEL, 'd5.', 'level_r3.'),
    **prefixed(_LEVEL, 'd6.', 'level_r2.'),
}


def pairs(mask: Tensor) -> Tensor:
    """Returns the products of all pairs of pixels, [B, 1, h, w] -> [B, 1, hw, hw]."""
    pixels = mask.flatten(2)
    return pixels.unsqueeze(3) * pixels.unsqueeze(2)


def attention_loss(outputs: PGNetOutputs, mask: Tensor) -> Tensor:
    """Returns the attention guided loss: cross entropy of the attention and the mask's `pairs`.

    A pair's weight grows with the errors of the two masks that each encoder predicts alone.

    Args:
        outputs: Outputs of a `PGNetwork`.
        mask: [B, 1, H, W] in [0, 1].
    """
    target = pairs(F.interpolate(mask, outputs.resnet.shape[-2:], mode='bilinear'))
    errors = [
        (target - pairs(logits.detach().sigmoid())).abs()
        for logits in (outputs.resnet, outputs.swin)
    ]
    weight = 1 + sum(errors) / 2
    return F.binary_cross_entropy_with_logits(outputs.attention, target, weight)


@MODELS.register_module()
class PGNet(DISBaseline):
    """Pyramid grafting network.

    Args:
        resnet: Config of mmseg's `ResNet`.
        swin: Config of mmseg's `SwinTransformer` with three stages and without `out_indices`.
        swin_size: Height and width to which images are resized for it.
        channels: Width of the decoder.
        num_heads: Heads of the grafting.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            'resnet.': 'network.resnet.',
            'swin.layers.{}.blocks.{}.atten_mask': (
                'network.swin.stages.{}.blocks.{}.attn.w_msa.mask'
            ),
            **prefixed(SWIN_PATTERNS, 'swin.', 'network.swin.'),
            **prefixed(_DECODER, 'decoder.', 'network.'),
            'linear1.': 'network.output.',
            'linear2.': 'network.resnet_output.',
            'linear3.': 'network.swin_output.',
            'conv.': 'network.attention_output.',
        },
        unused=('swin.norm.',),
        layout=SWIN_LAYOUT,
    )

    def __init__(
        self,
        resnet: dict,
        swin: dict,
        swin_size: int = 224,
        channels: int = 64,
        num_heads: int = 8,
        **kwargs,
    ):
        super().__init__(PGNetwork(resnet, swin, swin_size, channels, num_heads), **kwargs)

    def losses(self, outputs: PGNetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_mask', 'loss_encoders' and 'loss_attention'."""
        mask = targets['mask']
        encoders = bce_iou_loss(outputs.resnet, mask) + bce_iou_loss(outputs.swin, mask)
        return dict(
            loss_mask=bce_iou_loss(outputs.mask, mask),
            loss_encoders=encoders / 8,
            loss_attention=attention_loss(outputs, mask),
        )

    def probability(self, outputs: PGNetOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.mask.sigmoid()
