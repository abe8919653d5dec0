"""Networks of IS-Net: encoder and decoder of residual U-blocks, and the encoder of masks.

Written from the paper; the names of layers and the numbers of channels are those of the released
weights (https://github.com/xuebinqin/DIS, Apache-2.0).
"""

from typing import NamedTuple

from torch import Tensor, nn

from ..layers.residual_u_block import DILATED, ConvBNReLU, ResidualUStages, u2net_stages


class ISNetOutputs(NamedTuple):
    """Outputs of both networks, six of each, from the largest map to the smallest.

    Attributes:
        logits: [B, 1, H, W], at the size of the input; the first is the prediction.
        features: [B, C_i, h_i, w_i], at 1/2, 1/4, ..., 1/64.
    """

    logits: list[Tensor]
    features: list[Tensor]


class ISNetNetwork(ResidualUStages):
    """Encoder and decoder of residual U-blocks with a side output at each level.

    Args:
        width: Channels of the first stage; 64 in the paper.
    """

    def __init__(self, width: int):
        encoder, decoder, side_channels = u2net_stages(width, width)
        super().__init__(encoder, side_channels)
        self.conv_in = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.add_decoder(decoder)

    def forward(self, x: Tensor) -> ISNetOutputs:
        """Returns the outputs of images [B, 3, H, W].

        The features are the decoder's five maps and the last stage's.
        """
        features = self.decode(self.encode(self.conv_in(x)))
        return ISNetOutputs(self.sides(features, x.shape[-2:]), features)


class ISNetGTEncoderNetwork(ResidualUStages):
    """Encoder of masks: six stages, each of which reconstructs the mask.

    Its features have the channels and sizes of those of an `ISNetNetwork` of the same width.

    Args:
        width: Width of that `ISNetNetwork`.
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
        """Returns the outputs of masks [B, 1, H, W] in [0, 1]; features are the stages' maps."""
        features = self.encode(self.conv_in(x))
        return ISNetOutputs(self.sides(features, x.shape[-2:]), features)
