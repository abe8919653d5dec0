"""Layers that baselines share, against their definitions."""

import cv2
import numpy as np
import pytest
import torch
from mmseg.models.backbones import ResNet, ResNetV1c
from mmseg.models.utils.embed import PatchMerging
from torch.nn import functional as F

from mmdiffdis.models.baselines.layers.deformable_conv import ModulatedDeformConv2d
from mmdiffdis.models.baselines.layers.pyramid import BINOMIAL, GAUSSIAN, expand, reduce
from mmdiffdis.models.baselines.layers.res2net import Res2Block, Res2Net
from mmdiffdis.models.baselines.layers.resnet import ResNetV1s, five_maps, five_widths
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


def test_other_downsampling_layers_keep_their_order():
    weights = {
        f'layer1.0.downsample.{name}': torch.randn(shape)
        for name, shape in (('1.weight', (8, 4, 1, 1)), ('2.weight', (8,)), ('2.bias', (8,)))
    }
    for reorder in (to_mmseg_order, to_published_order):
        assert all(reorder(weights)[name] is tensor for name, tensor in weights.items())


@pytest.mark.parametrize('size', [(8, 12), (9, 7)], ids=str)
@pytest.mark.parametrize('kernel', [GAUSSIAN, BINOMIAL], ids=['gaussian', 'binomial'])
def test_pyramids_are_reduced_and_expanded_with_a_filter_of_opencv(kernel, size):
    def smooth(image):  # mirrors borders without the last pixel, as we do
        weights = cv2.getGaussianKernel(7, 1.0) if kernel is GAUSSIAN else np.float32(kernel) / 16
        return cv2.sepFilter2D(image, -1, weights, weights, borderType=cv2.BORDER_REFLECT_101)

    images = torch.randn(2, 3, *size)
    reduced, expanded = reduce(images, kernel).numpy(), expand(images, kernel).numpy()
    for i, channel in np.ndindex(2, 3):
        image = images[i, channel].numpy()
        np.testing.assert_allclose(reduced[i, channel], smooth(image)[::2, ::2], atol=1e-6)
        spread = np.zeros([2 * side for side in size], np.float32)
        spread[::2, ::2] = 4 * image
        np.testing.assert_allclose(expanded[i, channel], smooth(spread), atol=1e-5)


def test_pyramid_keeps_a_constant_also_under_autocast():
    constant = torch.full((1, 1, 8, 8), 0.7)
    torch.testing.assert_close(reduce(constant), constant[..., ::2, ::2])
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(reduce(constant), constant[..., ::2, ::2])


@torch.no_grad()
def test_resnet_v1s_is_mmsegs_v1c_under_other_names():
    sizes = dict(depth=18, stem_channels=16, base_channels=8)
    backbone, other = ResNetV1s(**sizes), ResNetV1c(**sizes)
    weights = {
        name.replace('conv1.', 'stem.', 1).replace('bn1.', 'stem.7.', 1)
        if name.startswith(('conv1.', 'bn1.'))
        else name: tensor
        for name, tensor in backbone.state_dict().items()
    }
    other.load_state_dict(weights)
    images = torch.randn(2, 3, 33, 64)
    for result, expected in zip(five_maps(backbone, images)[1:], other(images), strict=True):
        torch.testing.assert_close(result, expected)


@torch.no_grad()
def test_parts_of_a_res2net_block_are_chained_after_the_first_block():
    torch.manual_seed(0)
    for first in (True, False):
        block = Res2Block(32, 8, stride=1, dilation=2, first=first).eval()
        x = torch.randn(1, 32, 6, 7)
        one, two, three, last = F.relu(block.bn1(block.conv1(x))).chunk(4, dim=1)

        def narrow(i, part, block=block):
            return F.relu(block.bns[i](F.conv2d(part, block.convs[i].weight, None, 1, 2, 2)))

        a = narrow(0, one)
        b = narrow(1, two if first else two + a)
        c = narrow(2, three if first else three + b)
        last = F.avg_pool2d(last, 3, 1, 1) if first else last
        out = block.bn3(block.conv3(torch.cat([a, b, c, last], dim=1)))
        torch.testing.assert_close(block(x), F.relu(out + block.downsample(x)))


@torch.no_grad()
def test_res2net_has_five_maps_of_its_widths():
    backbone = Res2Net(dilations=((1,), (1,), (2,), (4,)), width=16).eval()
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (width, 64 // stride, 96 // stride)
        for width, stride in zip(backbone.num_features, (4, 4, 8, 16, 32), strict=True)
    ]
    assert backbone.num_features == [16, 64, 128, 256, 512]


@pytest.mark.parametrize(
    'kind, small',
    [
        (Res2Net, dict(dilations=((1,), (1,), (1,), (1,)), width=16)),
        (ResNetV1s, dict(depth=18, stem_channels=16, base_channels=8)),
    ],
)
def test_backbones_start_from_weights_with_a_classifier(kind, small, tmp_path):
    weights = kind(**small).state_dict()
    classifier = {'fc.weight': torch.zeros(10, 512), 'fc.bias': torch.zeros(10)}
    torch.save({**weights, **classifier}, tmp_path / 'published.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'published.pth'))
    backbone = kind(**small, init_cfg=pretrained)
    backbone.init_weights()
    assert all(torch.equal(weights[name], w) for name, w in backbone.state_dict().items())
