"""ResNet: five maps of an image. mmseg's names of layers are those of torchvision's weights."""

from mmseg.models.backbones import ResNet
from mmseg.registry import MODELS
from torch import Tensor

from .conv import deep_stem


@MODELS.register_module()
class ResNetV1s(ResNet):
    """ResNet with a stem of three convolutions under the names of GluonCV's and timm's weights.

    mmseg's `ResNetV1c` has the same layers under other names.

    Attributes:
        UNUSED: Beginnings of the published weights that it lacks.
    """

    UNUSED = ('fc.',)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.conv1 = deep_stem(stem_channels)


def five_maps(backbone: ResNet, images: Tensor) -> list[Tensor]:
    """Returns the stem's map before pooling and the four stages' maps, at 1/2, 1/4, ..., 1/32."""
    maps = [backbone.relu(backbone.norm1(backbone.conv1(images)))]
    x = backbone.maxpool(maps[0])
    for name in backbone.res_layers:
        x = backbone.get_submodule(name)(x)
        maps.append(x)
    return maps


def five_widths(backbone: ResNet) -> list[int]:
    """Returns the channels of the `five_maps`."""
    stages = len(backbone.res_layers)
    return [
        backbone.stem_channels,
        *(backbone.feat_dim // 2**i for i in reversed(range(stages))),
    ]
