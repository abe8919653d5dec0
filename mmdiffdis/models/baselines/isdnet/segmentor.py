"""Segmentor, losses and published names of ISDNet."""

from typing import ClassVar

from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ....checkpoints.published import PublishedNames, prefixed
from ..base import DISBaseline
from ..layers.conv import resize
from .network import ISDNetOutputs, ISDNetwork

# of pixels in a label that count as learnt
IGNORED = 255

_BLOCK = {
    'avd_layer.0.': 'downsample.conv.',
    'avd_layer.1.': 'downsample.bn.',
    'conv_list.': 'layers.',
}
# the release counts convolutions and blocks through all stages, mmseg's STDCNet blocks in each
_SHALLOW = {'0.': '0.', '1.': '1.'}
for _block in range(2, 6):
    _SHALLOW |= prefixed(_BLOCK, f'{_block}.', f'{_block // 2 + 1}.{_block % 2}.')


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross entropy over all pixels, that of `IGNORED` ones being zero.

    Args:
        logits: [B, 2, h, w]; resized to the labels' size.
        labels: [B, H, W], 0, 1 or `IGNORED`.
    """
    logits = F.interpolate(logits, labels.shape[-2:], mode='bilinear')
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction='none').mean()


def affinity(features: Tensor) -> Tensor:
    """Returns the similarity of all pairs of pixels, [B, hw, hw].

    As in the release, each channel is normalised over the pixels.
    """
    pixels = features.flatten(2)
    pixels = pixels / (pixels.norm(dim=2, keepdim=True) + 1e-6)
    return pixels.transpose(1, 2) @ pixels


def isdnet_losses(outputs: ISDNetOutputs, labels: Tensor) -> dict[str, Tensor]:
    """Returns cross entropies of five logits, and the losses of the restored details.

    Args:
        outputs: Outputs of an `ISDNetwork`, with those that only training needs.
        labels: [B, H, W], 0, 1 or `IGNORED`.
    """
    extra = outputs.supervised
    restored = resize(extra.restored, extra.features)
    return dict(
        loss_mask=cross_entropy(outputs.logits, labels),
        loss_fine=cross_entropy(extra.fine, labels),
        loss_coarse=cross_entropy(extra.coarse, labels),
        loss_deep=cross_entropy(extra.deep, labels),
        loss_stage=0.4 * cross_entropy(extra.stage, labels),
        loss_details=0.1 * F.mse_loss(resize(extra.restored_details, extra.details), extra.details),
        loss_affinity=F.l1_loss(affinity(extra.features), affinity(restored).detach()),
    )


@MODELS.register_module()
class ISDNet(DISBaseline):
    """Integrated shallow and deep network, for the classes background and foreground.

    Args:
        backbone: Config of mmseg's `ResNet`, which sees a quarter of the image's sides.
        shallow: Arguments of the `ShallowBranch`.
        channels: Width of deep branch and fusions, a multiple of 16.
        **kwargs: Arguments of `DISBaseline`.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            **prefixed(_SHALLOW, 'refine_head.stdc_net.features.', 'network.shallow.stages.'),
            'refine_head.fuse': 'network.fuse',
            'refine_head.conv_seg': 'network.conv_seg',
            'refine_head.sr_decoder.': 'network.sr_decoder.',
            '': 'network.',
        },
        # the shallow branch again
        unused=('refine_head.stdc_net.x',),
    )

    def __init__(self, backbone: dict, shallow: dict, channels: int = 128, **kwargs):
        super().__init__(ISDNetwork(backbone, shallow, channels), **kwargs)

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> ISDNetOutputs:
        """Returns the network's outputs, in training with those that only training needs."""
        return self.network(inputs, supervised=self.training)

    def losses(self, outputs: ISDNetOutputs, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the `isdnet_losses` of the mask's labels."""
        return isdnet_losses(outputs, (targets['mask'] > self.threshold).long()[:, 0])

    def probability(self, outputs: ISDNetOutputs) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        return outputs.logits.softmax(dim=1)[:, 1:]
