"""Segmentor, losses and published names of BiRefNet."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.swin import SWIN_LAYOUT, SWIN_PATTERNS
from ..losses import iou_loss, ssim_loss
from .network import BiRefNetwork, PatchOrder, resize

Outputs = tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]

_INWARD = {'conv1.': 'convs.0.', 'conv_out.': 'convs.1.'}
_DEFORMABLE = {
    'atrous_conv.offset_conv.': '0.offset.',
    'atrous_conv.modulator_conv.': '0.modulation.',
    'atrous_conv.regular_conv.': '0.conv.',
    'bn.': '1.',
}
_RECONSTRUCTION = {
    'conv_in.': 'squeeze.0.',
    'bn_in.': 'squeeze.1.',
    **prefixed(_DEFORMABLE, 'dec_att.aspp1.', 'aspp.branches.0.'),
    **prefixed(_DEFORMABLE, 'dec_att.aspp_deforms.{}.', 'aspp.branches.{+1}.'),
    'dec_att.global_avg_pool.': 'aspp.pooled.',
    'dec_att.conv1.': 'aspp.fuse.0.',
    'dec_att.bn1.': 'aspp.fuse.1.',
    'conv_out.': 'expand.0.',
    'bn_out.': 'expand.1.',
}


def _level(published: int, ours: int) -> dict[str, str]:
    """Returns the names of a decoder level.

    The release counts the levels from fine (1) to coarse (4), and the inward references (ipt) from
    that of whole pixels (1) to 5.
    """
    references = prefixed(_INWARD, f'ipt_blk{published + 1}.', 'inward.')
    blocks = prefixed(_RECONSTRUCTION, f'decoder_block{published}.', 'reconstruct.')
    level = {
        **references,
        **blocks,
        f'conv_ms_spvn_{published}.': 'mask.',
        f'gdt_convs_{published}.': 'outward.features.',
        f'gdt_convs_pred_{published}.0.': 'outward.gradient.',
        f'gdt_convs_attn_{published}.0.': 'outward.attention.',
    }
    return {
        **prefixed(level, 'decoder.', f'network.levels.{ours}.'),
        f'decoder.lateral_block{published}.conv.': f'network.laterals.{ours}.',
    }


def laplacian(images: Tensor) -> Tensor:
    """Returns the normalised 5x5 Laplacian of the grey image (mean of the channels).

    The kernel has ones around -24, divided by 48, the sum of the magnitudes; borders are mirrored.

    Args:
        images: [B, C, H, W].

    Returns:
        [B, 1, H, W].
    """
    grey = images.mean(dim=1, keepdim=True)
    total = 25 * F.avg_pool2d(F.pad(grey, (2, 2, 2, 2), mode='reflect'), 5, stride=1)
    return (total - 25 * grey) / 48


class BiRefNetLoss(nn.Module):
    """Cross entropy, IoU and SSIM of each mask, and cross entropy of the gradients.

    The weights are the released training's; `RegionFinetuneHook` changes them.

    Args:
        bce: Weight of the mean cross entropy of a mask.
        iou: Weight of its `iou_loss`.
        ssim: Weight of its `ssim_loss`.
        gradient: Weight of the gradients' cross entropy.
    """

    def __init__(
        self, bce: float = 30.0, iou: float = 0.5, ssim: float = 10.0, gradient: float = 1.0
    ):
        super().__init__()
        self.bce = bce
        self.iou = iou
        self.ssim = ssim
        self.gradient = gradient

    def forward(
        self,
        images: Tensor,
        mask: Tensor,
        sides: Sequence[tuple[Tensor, Tensor]],
        target: Tensor,
    ) -> dict[str, Tensor]:
        """Returns weighted losses, each summed over the masks.

        Args:
            images: Input of the network, [B, 3, H, W].
            mask: Logits of the mask, [B, 1, H, W].
            sides: Logits of mask and gradient of each level, [B, 1, h, w].
            target: Ground truth, [B, 1, H, W] in [0, 1].

        Returns:
            'loss_bce', 'loss_iou', 'loss_ssim', 'loss_gradient'.
        """
        # variances are small differences of large numbers: too small for half precision
        with torch.autocast(images.device.type, enabled=False):
            size = target.shape[-2:]
            logits = [resize(side.float(), size) for side in (*(side for side, _ in sides), mask)]
            masks = [logit.sigmoid() for logit in logits]
            gradient = sum(self._gradient_loss(laplacian(images.float()), *side) for side in sides)
            return dict(
                loss_bce=self.bce
                * sum(F.binary_cross_entropy_with_logits(logit, target) for logit in logits),
                loss_iou=self.iou * sum(iou_loss(mask, target) for mask in masks),
                loss_ssim=self.ssim * sum(ssim_loss(mask, target) for mask in masks),
                loss_gradient=self.gradient * gradient,
            )

    @staticmethod
    def _gradient_loss(image_gradient: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
        """Returns the cross entropy of a level's gradient and the image's inside its mask.

        The target follows from the mask's logits and is not detached: the gradient trains the mask
        as well.
        """
        size = image_gradient.shape[-2:]
        target = (image_gradient * resize(mask.float(), size)).sigmoid()
        return F.binary_cross_entropy_with_logits(resize(gradient.float(), size), target)


@MODELS.register_module()
class BiRefNet(DISBaseline):
    """Bilateral reference network.

    Args:
        backbone: Config of mmseg's `SwinTransformer`.
        patch_order: 'column-row-channel' for weights released before November 2024 and those
            derived from them, 'channel-row-column' for others; the shapes of both are the same.
            See `stack_patches`.
        width: Width of the decoder, see `BiRefNetwork`.
        loss: Weights of the losses, see `BiRefNetLoss`.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            **prefixed(SWIN_PATTERNS, 'bb.', 'network.backbone.'),
            **prefixed(_RECONSTRUCTION, 'squeeze_module.0.', 'network.localise.'),
            **_level(published=4, ours=0),
            **_level(published=3, ours=1),
            **_level(published=2, ours=2),
            **prefixed(_INWARD, 'decoder.ipt_blk2.', 'network.finest_inward.'),
            **prefixed(_RECONSTRUCTION, 'decoder.decoder_block1.', 'network.finest.'),
            **prefixed(_INWARD, 'decoder.ipt_blk1.', 'network.pixel_inward.'),
            'decoder.conv_out1.0.': 'network.mask.',
            '': 'network.',
        },
        layout=SWIN_LAYOUT,
    )

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
        """Returns the images [B, 3, H, W], whose gradients are learnt, and the network's outputs.

        See `BiRefNetwork.forward`.
        """
        return inputs, *self.network(inputs)

    def losses(self, outputs: Outputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the losses of `BiRefNetLoss`."""
        return self.criterion(*outputs, targets['mask'])

    def probability(self, outputs: Outputs) -> Tensor:
        """Returns the foreground probability at the inputs' size, [B, 1, H, W]."""
        _, mask, _ = outputs
        return mask.sigmoid()
