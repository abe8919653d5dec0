"""IS-Net: Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022.

Written from the paper; names of layers and numbers of channels are those of the released weights
(https://github.com/xuebinqin/DIS, Apache-2.0).
"""

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ...structures import stack_gt
from .base import DISBaseline

# The depth that stands for the block that dilates instead of pooling, on the smallest maps.
DILATED = '4F'


class ISNetOutputs(NamedTuple):
    """What both networks make: six of each, from the largest map to the smallest.

    Attributes:
        logits: [B, 1, H, W], at the size of the input; the first is the result.
        features: [B, C_i, h_i, w_i], at 1/2, 1/4, ..., 1/64.
    """

    logits: list[Tensor]
    features: list[Tensor]


class ConvBNReLU(nn.Sequential):
    """3x3 convolution, batch norm, ReLU, in the released names.

    Args:
        in_channels, out_channels: of the convolution.
        dilation: of the convolution.
        stride: of the convolution.
        suffix: of the names of the layers.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dilation: int = 1,
        stride: int = 1,
        suffix: str = '_s1',
    ):
        super().__init__()
        self.add_module(
            f'conv{suffix}',
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation),
        )
        self.add_module(f'bn{suffix}', nn.BatchNorm2d(out_channels))
        self.add_module(f'relu{suffix}', nn.ReLU(inplace=True))


class ResidualUBlock(nn.ModuleDict):
    """A small U-Net with a short-cut (RSU of U^2-Net, Qin et al. 2020).

    Args:
        depth: levels, the lowest of which is dilated instead of pooled; `DILATED`: four levels,
            none pooled.
        in_channels, mid_channels, out_channels: of the input, of all levels, and of the output.
    """

    def __init__(self, depth: int | str, in_channels: int, mid_channels: int, out_channels: int):
        self.pools = depth != DILATED
        self.depth = depth = depth if self.pools else 4
        dilations = [1] * (depth - 1) + [2] if self.pools else [2**i for i in range(depth)]
        # out_channels -> mid, mid -> mid, ..., and up again, each with its skip
        encoder = {
            f'rebnconv{i}': ConvBNReLU(out_channels if i == 1 else mid_channels, mid_channels, d)
            for i, d in enumerate(dilations, start=1)
        }
        decoder = {
            f'rebnconv{i}d': ConvBNReLU(
                2 * mid_channels, out_channels if i == 1 else mid_channels, d
            )
            for i, d in enumerate(dilations[:-1], start=1)
        }
        super().__init__(
            {'rebnconvin': ConvBNReLU(in_channels, out_channels), **encoder, **decoder}
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, out_channels, H, W] of [B, in_channels, H, W]."""
        x = self['rebnconvin'](x)
        levels = [self['rebnconv1'](x)]
        for i in range(2, self.depth + 1):
            is_lowest = i == self.depth
            level = levels[-1] if is_lowest or not self.pools else halve(levels[-1])
            levels.append(self[f'rebnconv{i}'](level))
        up = levels.pop()
        for i in range(self.depth - 1, 0, -1):
            up = self[f'rebnconv{i}d'](join(up, levels.pop()))
        return up + x


def halve(x: Tensor) -> Tensor:
    """Maxima of 2x2; what is left over at an odd side counts as one more."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def join(up: Tensor, skip: Tensor) -> Tensor:
    """`up`, enlarged to the size of `skip`, and `skip`: [B, C + C', H, W]."""
    return torch.cat([F.interpolate(up, skip.shape[-2:], mode='bilinear'), skip], dim=1)


class ISNetEncoder(nn.Module):
    """Six stages, halved in between, from the stem's map; part of both networks.

    Args:
        stages: depth and channels of each `ResidualUBlock`.
        side_channels: of the six maps that logits are made of.
    """

    def __init__(self, stages: Iterable[tuple], side_channels: Iterable[int]):
        super().__init__()
        for i, stage in enumerate(stages, start=1):
            self.add_module(f'stage{i}', ResidualUBlock(*stage))
        for i, channels in enumerate(side_channels, start=1):
            self.add_module(f'side{i}', nn.Conv2d(channels, 1, 3, padding=1))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The stages' maps, from 1/2 to 1/64."""
        maps = [self.stage1(x)]
        for i in range(2, 7):
            maps.append(self.get_submodule(f'stage{i}')(halve(maps[-1])))
        return maps

    def sides(self, features: list[Tensor], size: torch.Size) -> ISNetOutputs:
        """Logits of six maps, at `size` (H, W)."""
        logits = [
            self.get_submodule(f'side{i}')(feature) for i, feature in enumerate(features, start=1)
        ]
        resized = [F.interpolate(logit, size, mode='bilinear') for logit in logits]
        return ISNetOutputs(resized, features)


class ISNetNetwork(ISNetEncoder):
    """The network: encoder and decoder of residual U-blocks, a logit at every level.

    Args:
        width: channels of the first stage; 64 in the paper.
    """

    def __init__(self, width: int):
        w = width
        stages = [
            (7, w, w // 2, w),
            (6, w, w // 2, 2 * w),
            (5, 2 * w, w, 4 * w),
            (4, 4 * w, 2 * w, 8 * w),
            (DILATED, 8 * w, 4 * w, 8 * w),
            (DILATED, 8 * w, 4 * w, 8 * w),
        ]
        super().__init__(stages, [w, w, 2 * w, 4 * w, 8 * w, 8 * w])
        self.conv_in = nn.Conv2d(3, w, 3, stride=2, padding=1)
        self.stage5d = ResidualUBlock(DILATED, 16 * w, 4 * w, 8 * w)
        self.stage4d = ResidualUBlock(4, 16 * w, 2 * w, 4 * w)
        self.stage3d = ResidualUBlock(5, 8 * w, w, 2 * w)
        self.stage2d = ResidualUBlock(6, 4 * w, w // 2, w)
        self.stage1d = ResidualUBlock(7, 2 * w, w // 4, w)

    def forward(self, x: Tensor) -> ISNetOutputs:
        """Logits and features (of the decoder, and of the last stage) of images [B, 3, H, W]."""
        *skips, lowest = self.encode(self.conv_in(x))
        features = [lowest]
        for i in range(5, 0, -1):
            up = self.get_submodule(f'stage{i}d')(join(features[0], skips.pop()))
            features.insert(0, up)
        return self.sides(features, x.shape[-2:])


class ISNetGTEncoderNetwork(ISNetEncoder):
    """The encoder of masks: six stages, each of which is to give the mask back.

    Its features have the channels and sizes of those of an `ISNetNetwork` of the same width.

    Args:
        width: as of :class:`ISNetNetwork`.
    """

    def __init__(self, width: int):
        w = width
        stages = [
            (7, w // 4, w // 4, w),
            (6, w, w // 4, w),
            (5, w, w // 2, 2 * w),
            (4, 2 * w, w // 2, 4 * w),
            (DILATED, 4 * w, w, 8 * w),
            (DILATED, 8 * w, w, 8 * w),
        ]
        super().__init__(stages, [w, w, 2 * w, 4 * w, 8 * w, 8 * w])
        self.conv_in = ConvBNReLU(1, w // 4, stride=2, suffix='')

    def forward(self, x: Tensor) -> ISNetOutputs:
        """Logits and features (of the stages) of masks [B, 1, H, W] in [0, 1]."""
        return self.sides(self.encode(self.conv_in(x)), x.shape[-2:])


def side_losses(outputs: ISNetOutputs, mask: Tensor) -> dict[str, Tensor]:
    """'loss_side1' to 'loss_side6': cross-entropies of each of the logits and the mask."""
    return {
        f'loss_side{i}': F.binary_cross_entropy_with_logits(logit, mask)
        for i, logit in enumerate(outputs.logits, start=1)
    }


@MODELS.register_module()
class ISNetGTEncoder(DISBaseline):
    """The first stage of training: an auto-encoder of true masks, at the size of the images.

    Its prediction is how well it gives the true mask back.

    Args:
        width: channels of the first stage; 64 in the paper.
        kwargs: of :class:`DISBaseline`.
    """

    def __init__(self, width: int = 64, **kwargs):
        super().__init__(ISNetGTEncoderNetwork(width), **kwargs)

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> ISNetOutputs:
        """The network's outputs of the true masks, brought to the size of the images.

        Raises:
            ValueError: there are no true masks.
        """
        if data_samples is None:
            raise ValueError('an encoder of masks takes data samples with masks, not images alone')
        masks = [stack_gt('mask', [sample]) for sample in data_samples]
        size = inputs.shape[-2:]
        resized = [F.interpolate(m, size, mode='bilinear', antialias=True) for m in masks]
        return self.network(torch.cat(resized))

    def probability(self, outputs: ISNetOutputs) -> Tensor:
        """The first side output's, [B, 1, H, W]."""
        return outputs.logits[0].sigmoid()

    def losses(self, outputs: ISNetOutputs, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `side_losses`."""
        return side_losses(outputs, truths['mask'])


@MODELS.register_module()
class ISNet(DISBaseline):
    """The second stage of training, and the segmentor.

    Args:
        width: channels of the first stage; 64 in the paper.
        gt_encoder: config of a trained :class:`ISNetGTEncoder` of the same width, whose features
            of the true mask are those to be had of the image (`init_cfg` says where its weights
            are); None: no supervision of features. It is not trained.
        kwargs: of :class:`DISBaseline`.
    """

    TRAINING_ONLY: ClassVar[tuple[str, ...]] = ('gt_encoder.',)

    def __init__(self, width: int = 64, gt_encoder: dict | None = None, **kwargs):
        super().__init__(ISNetNetwork(width), **kwargs)
        self.gt_encoder = MODELS.build(gt_encoder) if gt_encoder else None
        if self.gt_encoder is not None:
            self.gt_encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> 'ISNet':
        """As of any module, but the encoder of masks keeps its statistics."""
        super().train(mode)
        if self.gt_encoder is not None:
            self.gt_encoder.eval()
        return self

    def probability(self, outputs: ISNetOutputs) -> Tensor:
        """The first side output's, [B, 1, H, W]."""
        return outputs.logits[0].sigmoid()

    def losses(self, outputs: ISNetOutputs, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """`side_losses` and, with an encoder of masks, 'loss_feature1' to 'loss_feature6'.

        These are mean squared differences; all weights are 1, as in the paper.
        """
        losses = side_losses(outputs, truths['mask'])
        if self.gt_encoder is not None:
            with torch.no_grad():
                targets = self.gt_encoder.network(truths['mask']).features
            pairs = zip(outputs.features, targets, strict=True)
            losses |= {
                f'loss_feature{i}': F.mse_loss(feature, target)
                for i, (feature, target) in enumerate(pairs, start=1)
            }
        return losses
