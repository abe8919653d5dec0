"""Segmentor, labels and published names of UDUN."""

from typing import ClassVar

import cv2
import numpy as np
import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.conv import pad_to_multiple
from ..losses import bce_iou_loss
from .network import SIZE_DIVISOR, UDUNetwork, UDUNOutputs


def trunk_of(mask: Tensor) -> Tensor:
    """Returns the trunk of masks: the root of the distance to the background, over its maximum.

    The background is where a mean over 5x5 pixels is zero. Source: Wei et al., Label Decoupling
    Framework, CVPR 2020, rounded down to 8 bits as released.

    Args:
        mask: [B, 1, H, W] in [0, 1].

    Returns:
        [B, 1, H, W] in [0, 1].
    """
    trunks = []
    for image in (mask[:, 0] * 255).round().byte().cpu().numpy():
        distance = cv2.distanceTransform(cv2.blur(image, (5, 5)), cv2.DIST_L2, maskSize=5)
        depth = np.sqrt(distance)
        trunks.append(np.floor(depth / (depth.max() or 1) * 255) / 255)
    return torch.from_numpy(np.stack(trunks))[:, None].to(mask)


def udun_losses(outputs: UDUNOutputs, mask: Tensor, trunk: Tensor) -> dict[str, Tensor]:
    """Returns 'loss_trunk', 'loss_structure' and 'loss_mask', each half as in the release.

    Args:
        outputs: Outputs of a `UDUNetwork`.
        mask: [B, 1, H, W] in [0, 1].
        trunk: Its trunk, [B, 1, H, W]; the structure is the rest of the mask.
    """
    # the trunk's 5x5 mean reaches beyond the mask
    structure = (mask - trunk).clamp(min=0)
    small_trunk = F.interpolate(
        pad_to_multiple(trunk, SIZE_DIVISOR), outputs.trunk.shape[-2:], mode='bilinear'
    )
    entropy = F.binary_cross_entropy_with_logits
    return dict(
        loss_trunk=entropy(outputs.trunk, small_trunk) / 2,
        loss_structure=entropy(outputs.structure, structure) / 2,
        loss_mask=bce_iou_loss(outputs.mask, mask) / 2,
    )


def _trunk_names() -> dict[str, str]:
    """Returns the names of the trunk's decoder.

    The release calls the coarsest of five levels 1 and the finest 5, and level 3 after two rounds
    32. The names of a merge are made of both of its levels: conv_21_3 and conv_31_3 lead to
    conv_32.
    """
    names = {}
    for round_ in range(4):
        done = round_ or ''
        for merge in range(4 - round_):
            fine = round_ + merge + 2
            layers = {
                f'{fine - 1}{done}_{fine}.': 'coarse',
                f'{fine}{done}_{fine}.': 'fine',
                f'{fine}{round_ + 1}.': 'fuse',
            }
            for published, ours in layers.items():
                ours = f'network.trunk.rounds.{round_}.{merge}.{ours}'
                names[f'trunk.conv_{published}'] = f'{ours}.0.'
                names[f'trunk.bn_{published}'] = f'{ours}.1.'
    return names


_UNION = {
    'conv1.': 'gate.',
    'conv2.': 'gated.0.',
    'bn2.': 'gated.1.',
    'conv3.': 'structure.0.',
    'bn3.': 'structure.1.',
    'conv4.': 'guide.0.',
    'bn4.': 'guide.1.',
    'conv5.': 'fuse.0.',
    'bn5.': 'fuse.1.',
}


@MODELS.register_module()
class UDUN(DISBaseline):
    """Unite-divide-unite network. It learns trunk and structure of the mask besides.

    Args:
        backbone: Config of mmseg's `ResNet`.
        width: Channels of the finest maps, see `UDUNetwork`.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            'bkbone.': 'network.backbone.',
            'convHR{}.': 'network.high.{}.',
            'convLR{+1}.': 'network.low.{}.',
            **_trunk_names(),
            'dcm.convLR{}.': 'network.trunk_in_structure.{}.0.',
            'dcm.bnLR{}.': 'network.trunk_in_structure.{}.1.',
            'struct.conv{}.': 'network.structure.convs.{}.0.',
            'struct.bn{}.': 'network.structure.convs.{}.1.',
            'struct.conv4_reduce.': 'network.structure.reduce.0.',
            'struct.bn4_reduce.': 'network.structure.reduce.1.',
            **prefixed(_UNION, 'union_de.TSA_{}.', 'network.union.by_trunk.{}.'),
            **prefixed(_UNION, 'union_de.MSA_{+3}.', 'network.union.by_mask.{}.'),
            'union_de.conv_{+1}.': 'network.union.convs.{}.',
            'union_de.conv_4_reduce.': 'network.union.reduce.',
            'linear_t.': 'network.trunk_output.',
            'linear_s.': 'network.structure_output.',
            'linear.': 'network.mask_output.',
        },
        unused=('dcm.convLR3.', 'dcm.bnLR3.'),
    )

    def __init__(self, backbone: dict, width: int = 16, **kwargs):
        super().__init__(UDUNetwork(backbone, width), **kwargs)

    def losses(self, outputs: UDUNOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `udun_losses`."""
        return udun_losses(outputs, targets['mask'], trunk_of(targets['mask']))

    def probability(self, outputs: UDUNOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.mask.sigmoid()
