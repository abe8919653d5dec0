"""Layers that baselines share, against their definitions."""

import numpy as np
import pytest
import torch
from mmseg.models.backbones import ResNet
from mmseg.models.utils.embed import PatchMerging
from torch.nn import functional as F

from mmdiffdis.models.baselines.layers.deformable_conv import ModulatedDeformConv2d
from mmdiffdis.models.baselines.layers.resnet import five_maps, five_widths
from mmdiffdis.models.baselines.layers.swin import to_mmseg_order, to_published_order


def deformed_by_definition(x, weight, offset, modulation):
    """Zhu et al. 2019, Eqn. 1, pixel by pixel: x [C, H, W] -> [O, H, W], zeros outside."""
    (channels, height, width), side = x.shape, weight.shape[-1]

    def read(y, column):
        total = np.zeros(channels)
        for row in (int(np.floor(y)), int(np.floor(y)) + 1):
            for col in (int(np.floor(column)), int(np.floor(column)) + 1):
                if 0 <= row < height and 0 <= col < width:
                    total += (1 - abs(y - row)) * (1 - abs(column - col)) * x[:, row, col]
        return total

    result = np.zeros((len(weight), height, width))
    for y, column, tap in np.ndindex(height, width, side**2):
        row, col = divmod(tap, side)
        dy, dx = offset[2 * tap : 2 * tap + 2, y, column]
        value = read(y + row - side // 2 + dy, column + col - side // 2 + dx)
        result[:, y, column] += weight[:, :, row, col] @ value * modulation[tap, y, column]
    return result


def test_deformable_convolution_follows_its_definition():
    torch.manual_seed(0)
    conv = ModulatedDeformConv2d(2, 3, kernel_size=3).double()
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 2, 5, 7, dtype=torch.double)
    with torch.no_grad():
        offset, modulation = conv.offset(x), 2 * conv.modulation(x).sigmoid()
        result = conv(x)
    assert offset.abs().max() > 3  # some taps read outside the image
    for i in range(2):
        expected = deformed_by_definition(
            *(t.detach().numpy() for t in (x[i], conv.conv.weight, offset[i], modulation[i]))
        )
        np.testing.assert_allclose(result[i].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize('size', [(6, 9), (1, 4), (1, 1)], ids=str)
def test_deformable_convolution_starts_as_a_plain_one(size):
    conv, x = ModulatedDeformConv2d(3, 4, kernel_size=7), torch.randn(2, 3, *size)
    expected = F.conv2d(x, conv.conv.weight, padding=3)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_merged_patches_are_in_the_order_of_the_released_backbone():
    torch.manual_seed(0)
    merging = PatchMerging(6, 12)
    weights = {
        f'x.downsample.{name}': torch.randn_like(tensor)
        for name, tensor in merging.state_dict().items()
    }
    ours = to_mmseg_order(weights)
    merging.load_state_dict({name.rpartition('downsample.')[2]: w for name, w in ours.items()})
    x = torch.randn(1, 4, 8, 6)  # [B, H, W, C]
    # Liu et al., Swin Transformer: columns outermost
    patches = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    normed = F.layer_norm(
        torch.cat(patches, dim=-1),
        (24,),
        weights['x.downsample.norm.weight'],
        weights['x.downsample.norm.bias'],
    )
    expected = normed @ weights['x.downsample.reduction.weight'].T
    result, size = merging(x.flatten(1, 2), (4, 8))
    assert size == (2, 4)
    torch.testing.assert_close(result.view_as(expected), expected)
    back = to_published_order(ours)
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


@torch.no_grad()
def test_five_maps_of_a_resnet_are_the_stem_and_its_four_stages():
    backbone = ResNet(depth=50, stem_channels=8, base_channels=4)
    backbone.eval()
    images = torch.randn(1, 3, 64, 96)
    stem, *stages = five_maps(backbone, images)
    pairs = zip(stages, backbone(images), strict=True)
    assert all(torch.equal(result, expected) for result, expected in pairs)
    assert stem.shape[-2:] == (32, 48) and stem.min() == 0
    assert [x.shape[1] for x in (stem, *stages)] == five_widths(backbone)
