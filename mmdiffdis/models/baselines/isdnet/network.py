"""Network of ISDNet: a deep network for a quarter of the image, a shallow one for its details.

The deep branch is mmseg's DeepLabV3, the shallow one the beginning of mmseg's STDC network. Written
from the paper and observed numbers; names of layers are those of the released weights where they
are not mmseg's (https://github.com/cedricgsh/ISDNet, Apache-2.0).
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.models.backbones import STDCNet
from mmseg.models.decode_heads import ASPPHead, FCNHead
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import resize
from ..layers.pyramid import BINOMIAL, expand, reduce

CLASSES = 2
DILATIONS = (1, 12, 24, 36)
# of the channels, in the affinity of two maps: it has the square of it as features
GROUPS = 16
NORM = dict(type='BN')
_conv3x3 = partial(ConvModule, kernel_size=3, padding=1, norm_cfg=NORM)


class Supervised(NamedTuple):
    """Outputs that only training needs; logits are [B, 2, h, w] of any size.

    Attributes:
        fine: Logits of the deep features where they meet the shallow ones at 1/8.
        coarse: The same at 1/16.
        deep: Logits of the deep branch.
        stage: Logits of the backbone's third stage.
        features: Features of the deep branch, [B, C, h, w].
        restored: Features whose details are restored, [B, C, h', w'].
        restored_details: Restored details, [B, 3, h', w'].
        details: Details of the image, [B, 3, H, W].
    """

    fine: Tensor
    coarse: Tensor
    deep: Tensor
    stage: Tensor
    features: Tensor
    restored: Tensor
    restored_details: Tensor
    details: Tensor


class ISDNetOutputs(NamedTuple):
    """Outputs of the network.

    Attributes:
        logits: Of background and foreground, [B, 2, H, W].
        supervised: Outputs that only training needs, or None.
    """

    logits: Tensor
    supervised: Supervised | None


def details(images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the two finest levels of the Laplacian pyramid, both of the images' size."""
    half = reduce(images, BINOMIAL)
    fine, coarse = (
        level - expand(smaller, BINOMIAL)[..., : level.shape[-2], : level.shape[-1]]
        for level, smaller in ((images, half), (half, reduce(half, BINOMIAL)))
    )
    return fine, resize(coarse, images)


def output(channels: int, out_channels: int) -> nn.Sequential:
    """Returns the layers that make logits, or an image, of features."""
    return nn.Sequential(
        OrderedDict(
            conv_bn_relu=_conv3x3(channels, channels // 2),
            conv_out=nn.Conv2d(channels // 2, out_channels, 1),
        )
    )


class ShallowBranch(STDCNet):
    """mmseg's `STDCNet` without its last stage, for the six channels of the details.

    Attributes:
        UNUSED: Beginnings of the weights of an `STDCNet` that it lacks.

    Args:
        channels: Channels of the five stages.
        init_cfg: MMEngine's initialisation config. Weights for three channels are repeated.
    """

    UNUSED = ('stages.4.',)

    def __init__(self, channels: tuple[int, ...], init_cfg: dict | None = None):
        act = dict(type='ReLU')
        super().__init__('STDCNet1', 6, channels, 'cat', NORM, act, init_cfg=init_cfg)
        del self.stages[-1]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        first = f'{prefix}stages.0.conv.weight'
        if first in state_dict and state_dict[first].shape[1] == 3:
            state_dict[first] = state_dict[first].repeat(1, 2, 1, 1)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ChannelAttention(nn.Module):
    """Features, and a score of each of their channels.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.conv_bn_relu = _conv3x3(in_channels, channels)
        self.conv_1x1 = ConvModule(channels, channels, 1, norm_cfg=NORM, act_cfg=None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns [B, channels, h, w] and [B, channels, 1, 1]."""
        x = self.conv_bn_relu(x)
        return x, self.conv_1x1(x.mean(dim=(2, 3), keepdim=True))


class RelationAwareFusion(nn.Module):
    """Sum of shallow and deep features, whose channels are weighted by the relation of both.

    Args:
        in_channels: Channels of the shallow features.
        channels: Channels of the deep features and of the output, a multiple of `GROUPS`.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.g1 = nn.Parameter(torch.zeros(1))
        self.g2 = nn.Parameter(torch.zeros(1))
        self.spatial_mlp, self.context_mlp = (
            nn.Sequential(
                nn.Linear(GROUPS**2, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU()
            )
            for _ in range(2)
        )
        self.spatial_att = ChannelAttention(in_channels, channels)
        self.context_att = ChannelAttention(channels, channels)
        self.context_head = _conv3x3(channels, channels)
        self.smooth = _conv3x3(channels, channels, act_cfg=None)

    def forward(self, shallow: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the deep features of the shallow ones' size, and the sum, [B, channels, h, w].

        Args:
            shallow: [B, in_channels, h, w].
            deep: [B, channels, h', w'].
        """
        shallow, shallow_score = self.spatial_att(shallow)
        deep, deep_score = self.context_att(deep)
        groups = [score.reshape(len(score), GROUPS, -1) for score in (shallow_score, deep_score)]
        relation = (groups[0] @ groups[1].transpose(1, 2)).flatten(1)  # [B, GROUPS**2]
        shallow_score = shallow_score + self.g1 * self.spatial_mlp(relation)[..., None, None]
        deep_score = deep_score + self.g2 * self.context_mlp(relation)[..., None, None]
        shallow = shallow * shallow_score.sigmoid()
        deep = self.context_head(resize(deep * deep_score.sigmoid(), shallow))
        return deep, self.smooth(shallow + deep)


class Restoration(nn.Module):
    """Decoder that restores the image's details of deep features, in training.

    Args:
        channels: Channels of the features.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = _conv3x3(channels, channels // 2)
        self.conv2 = _conv3x3(channels // 2, channels // 2)
        self.conv3 = _conv3x3(channels // 2, channels)
        self.conv_sr = output(channels, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, h, w] -> features [B, C, 16h, 16w] and details [B, 3, 16h, 16w]."""
        for scale, layer in ((4, self.conv1), (2, self.conv2), (2, self.conv3)):
            x = layer(F.interpolate(x, scale_factor=scale))
        return x, self.conv_sr(x)


class ISDNetwork(BaseModule):
    """Deep and shallow branch, fused at 1/16 and at 1/8.

    Args:
        backbone: Config of mmseg's `ResNet` of four stages, for a quarter of the image's sides.
        shallow: Arguments of the `ShallowBranch`.
        channels: Width of deep branch and fusions, a multiple of 16.
    """

    def __init__(self, backbone: dict, shallow: dict, channels: int):
        super().__init__()
        head = dict(num_classes=CLASSES, norm_cfg=NORM, align_corners=False)
        self.backbone = MODELS.build(backbone)
        width = self.backbone.feat_dim
        self.decode_head = ASPPHead(
            dilations=DILATIONS, in_channels=width, channels=channels, in_index=3, **head
        )
        self.auxiliary_head = FCNHead(
            num_convs=1,
            concat_input=False,
            in_channels=width // 2,
            channels=channels // 2,
            in_index=2,
            **head,
        )
        self.shallow = ShallowBranch(**shallow)
        *_, width8, width16, _ = self.shallow.channels
        self.fuse16 = RelationAwareFusion(width16, channels)
        self.fuse8 = RelationAwareFusion(width8, channels)
        self.conv_seg = output(channels, CLASSES)
        self.conv_seg_aux_16 = output(channels, CLASSES)
        self.conv_seg_aux_8 = output(channels, CLASSES)
        self.sr_decoder = Restoration(channels)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, images: Tensor, supervised: bool = False) -> ISDNetOutputs:
        """Returns the outputs for images [B, 3, H, W].

        Args:
            images: [B, 3, H, W].
            supervised: Whether to compute the outputs that only training needs.
        """
        quarter = [side // 4 for side in images.shape[-2:]]
        stages = self.backbone(F.interpolate(images, quarter))
        features = self.decode_head._forward_feature(stages)
        fine, coarse = details(images)
        shallow8, shallow16 = self.shallow(torch.cat([fine, coarse], dim=1))
        deep16, fused = self.fuse16(shallow16, features)
        deep8, fused = self.fuse8(shallow8, fused)
        logits = resize(self.conv_seg(self.dropout(fused)), images)
        if not supervised:
            return ISDNetOutputs(logits, None)
        restored = self.sr_decoder(features)
        return ISDNetOutputs(
            logits,
            Supervised(
                # the release's names of both are exchanged
                self.conv_seg_aux_16(deep8),
                self.conv_seg_aux_8(deep16),
                self.decode_head.cls_seg(features),
                self.auxiliary_head(stages),
                features,
                *restored,
                fine + coarse,
            ),
        )
