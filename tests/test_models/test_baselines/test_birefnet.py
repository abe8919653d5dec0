"""BiRefNet: the numbers of the released implementation, and its parts against plain formulas."""

import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, draw_samples, load_keys, normal, relative_error
from golden_baselines import golden_weights, load_golden
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import FUNCTIONS
from mmengine.runner.checkpoint import load_state_dict
from mmseg.models.utils.embed import PatchMerging
from mmseg.registry import MODELS, TRANSFORMS
from scipy.ndimage import correlate
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.checkpoints import save_weights
from mmdiffdis.checkpoints.published import PublishedNames
from mmdiffdis.models.baselines.birefnet import (
    BiRefNetLoss,
    ModulatedDeformConv2d,
    RegionFinetuneHook,
    collate_at_random_size,
)
from mmdiffdis.models.baselines.birefnet.loss import iou_loss, laplacian, ssim_loss
from mmdiffdis.models.baselines.birefnet.network import resize, stack_patches
from mmdiffdis.models.baselines.birefnet.published import PREFIXES
from mmdiffdis.models.baselines.layers.swin import to_mmseg_order, to_published_order

CONFIGS = ROOT / 'configs' / 'birefnet'
KEYS = 'baselines/birefnet_swin_t_keys.json'
# The release's names of the levels, in our order: coarse to fine.
LEVELS = (4, 3, 2)
# Of standard deviations, at the worst pixel; two back ends of convolutions differ by 8e-6.
ROUNDING = 3e-5


def build(name='birefnet_small_1xb16-1k2_synthetic-dis-128x128', **changes):
    torch.manual_seed(0)
    config = Config.fromfile(CONFIGS / f'{name}.py')
    config.model.data_preprocessor = None
    config.merge_from_dict({f'model.{option}': value for option, value in changes.items()})
    return MODELS.build(config.model)


@pytest.fixture(scope='module')
def golden():
    return load_golden('birefnet_swin_t')


@pytest.fixture(scope='module')
def lite(golden):
    weights = golden_weights('birefnet_swin_t', golden.meta['seed'], golden.meta['rules'])
    model = build('birefnet-lite_swin-t_1xb4-600e_dis5k-1024x1024')
    load_state_dict(model, {**model.to_published(), **weights}, strict=True)
    model.eval()
    return model


@pytest.fixture
def image(golden):
    return normal(golden.meta['seed'] + 1, golden.meta['inputs']['x'])


@pytest.fixture
def truth(golden, image):
    return (normal(golden.meta['seed'] + 2, (1, 1, *image.shape[2:])) > 0.3).float()


def test_has_the_released_keys_and_shapes(lite):
    ours = {name: list(tensor.shape) for name, tensor in lite.to_published().items()}
    assert ours == load_keys(KEYS)


@torch.no_grad()
def test_maps_equal_the_released(golden, lite, image):
    maps = lite.network.encode(image)
    context = torch.cat([resize(one, maps[-1].shape[-2:]) for one in maps], dim=1)
    results = {f'enc{i + 1}': one for i, one in enumerate((*maps[:3], context))}
    results['squeeze'] = lite.network.localise(context)
    results['logits'], sides = lite.network(image)
    for level, (mask, gradient) in zip(LEVELS, sides, strict=True):
        label = laplacian(image) * resize(mask, image.shape[-2:])
        results |= {f'm{level}': mask, f'gdt_pred{level}': gradient, f'gdt_label{level}': label}
    for name, result in results.items():
        assert golden.error(name, result) < ROUNDING, name
    assert torch.equal(lite(image, mode='tensor'), results['logits'].sigmoid())


@torch.no_grad()
def test_maps_with_the_patch_order_of_old_releases_equal_those(golden, lite, image):
    name = 'birefnet-lite_swin-t_1xb4-600e_dis5k-1024x1024'
    model = build(name, patch_order='column-row-channel').eval()
    model.load_state_dict(lite.state_dict())
    assert golden.error('logits_legacy_patch_order', model.network(image)[0]) < ROUNDING
    assert relative_error(lite.network(image)[0], model.network(image)[0].numpy()) > 0.01


def test_losses_and_gradients_equal_the_released(golden, lite, image, truth):
    lite.zero_grad()
    losses = lite.losses(lite.run(image), {'mask': truth})
    total = sum(losses.values())
    total.backward()
    gradients = {name: parameter.grad for name, parameter in lite.named_parameters()}
    masks = len(LEVELS) + 1
    results = dict(
        eval_total=total,
        eval_gdt=losses['loss_gradient'],
        eval_pix=total - losses['loss_gradient'],
        eval_pix_mean_bce=losses['loss_bce'] / masks,
        eval_pix_mean_iou=losses['loss_iou'] / masks,
        eval_pix_mean_ssim=losses['loss_ssim'] / masks,
    )
    for name, result in results.items():
        assert relative_error(result.detach(), golden.raw[f'loss.{name}']) < 1e-5, name
    released = golden.gradients('eval_total')
    names = PublishedNames(PREFIXES)
    for name, (norm, total) in released.items():
        gradient = gradients[names.our_name(name)].double()
        assert abs(gradient.norm() - norm) < 1e-3 * norm, name
        assert abs(gradient.sum() - total) < 1e-3 * max(abs(total), norm), name


# ----------------------------------------------------------------------------------- its parts


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
    assert offset.abs().max() > 3  # some taps read what lies outside
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


def test_patches_become_channels_in_either_order():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    new = stack_patches(images, (2, 3), 2, 'channel-row-column')
    old = stack_patches(images, (2, 3), 2, 'column-row-channel')
    for channel, row, column in np.ndindex(3, 2, 2):
        rows, columns = slice(2 * row, 2 * row + 2), slice(3 * column, 3 * column + 3)
        patch = images[:, channel, rows, columns]
        assert torch.equal(new[:, (channel * 2 + row) * 2 + column], patch)
        assert torch.equal(old[:, (column * 2 + row) * 3 + channel], patch)


def test_unknown_patch_order_is_named():
    with pytest.raises(ValueError, match=r"'rgb', expected one of .*column-row-channel"):
        build(patch_order='rgb')


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
    # Liu et al., Swin Transformer: columns outermost.
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


def test_backbone_is_initialised_from_a_file(tmp_path):
    source = build().network.backbone
    path = save_weights(source, tmp_path / 'swin.safetensors')
    init = dict(type='Pretrained', checkpoint=str(path), _delete_=True)
    model = build(**{'backbone.init_cfg': init})
    torch.nn.init.zeros_(model.network.backbone.norm3.weight)
    model.init_weights()
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.network.backbone.state_dict()[name], tensor), name


@pytest.mark.parametrize('config', sorted(CONFIGS.glob('*dis5k*.py')), ids=lambda path: path.stem)
def test_is_tested_on_what_opencv_resizes_bilinearly(config):
    image = np.random.default_rng(0).integers(0, 256, (2100, 1300, 3), np.uint8)
    pipeline = Config.fromfile(config).test_dataloader.dataset.pipeline
    steps = without_loading(pipeline)
    results = Compose(steps)(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    side = 2048 if 'hr' in config.stem else 1024
    expected = cv2.resize(image, (side, side))
    np.testing.assert_array_equal(results['inputs'].permute(1, 2, 0), expected)


# -------------------------------------------------------------------------------- its training


def test_iou_loss_is_summed_over_the_batch():
    probability, truth = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5).round()
    p, t = probability.numpy(), truth.numpy()
    expected = sum(1 - (a * b).sum() / (a + b - a * b).sum() for a, b in zip(p, t, strict=True))
    torch.testing.assert_close(iou_loss(probability, truth).item(), float(expected))


def test_ssim_loss_is_skimages():
    images = torch.rand(2, 1, 24, 30)
    images = F.pad(images[..., 6:-6, 6:-6], (6, 6, 6, 6))  # so that zeros and mirroring agree
    a, b = images[:, 0].double().numpy()
    # truncated at 3.5 sigma: 11 pixels
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)
    _, similarity = structural_similarity(a, b, full=True, **options)
    result = ssim_loss(images[:1], images[1:]).item()
    assert result == pytest.approx((1 - similarity.mean()) / 2, abs=1e-6)
    assert ssim_loss(images, images).item() == pytest.approx(0, abs=1e-6)


def test_laplacian_is_scipys_correlation():
    images = torch.randn(2, 3, 9, 11)
    kernel = np.ones((5, 5))
    kernel[2, 2] = -24
    for image, result in zip(images, laplacian(images), strict=True):
        expected = correlate(image.mean(0).numpy(), kernel / 48, mode='mirror')
        np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-6)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    sides = [
        tuple(torch.randn(2, 1, side, side, requires_grad=True) for _ in range(2))
        for side in (4, 8, 16)
    ]
    mask = torch.randn(2, 1, 64, 64, requires_grad=True)
    return torch.randn(2, 3, 64, 64), mask, sides, torch.rand(2, 1, 64, 64).round()


def test_gradients_train_the_masks_as_well(batch):
    _, mask, sides, _ = batch
    BiRefNetLoss()(*batch)['loss_gradient'].backward()
    assert all(one.grad.abs().sum() > 0 for side in sides for one in side)
    assert mask.grad is None


def test_weights_of_the_losses(batch):
    half = BiRefNetLoss(bce=15.0, iou=0.25, ssim=5.0, gradient=0.5)(*batch)
    for name, loss in BiRefNetLoss()(*batch).items():
        torch.testing.assert_close(loss, 2 * half[name], msg=name)


def test_losses_are_of_single_precision_under_autocast(batch):
    expected = BiRefNetLoss()(*batch)
    with torch.autocast('cpu', torch.bfloat16):
        losses = BiRefNetLoss()(*batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert all(torch.equal(loss, expected[name]) for name, loss in losses.items())


def test_last_epochs_are_trained_without_cross_entropy():
    weights = {}
    for start in (0, 8):  # from the beginning, and resumed
        loss = BiRefNetLoss()
        runner = SimpleNamespace(model=SimpleNamespace(criterion=loss), max_epochs=10)
        hook = RegionFinetuneHook(epochs=3)
        hook.before_train(runner)
        for runner.epoch in range(start, 10):
            hook.before_train_epoch(runner)
            now = (loss.bce, loss.iou, loss.ssim)
            assert weights.setdefault(runner.epoch, now) == now
    assert weights[6] == (30.0, 0.5, 10.0)
    assert [weights[epoch] for epoch in (7, 8, 9)] == [
        (0.0, 0.25, 10.0),
        (0.0, 0.125, 10.0),
        (0.0, 0.0625, 10.0),
    ]


def test_pepper_is_black_or_white_in_a_share_of_the_pixels():
    np.random.seed(0)
    image = np.full((50, 80, 3), 100, np.uint8)
    peppered = TRANSFORMS.build(dict(type='RandomPepper', share=0.1))(dict(img=image))['img']
    changed = peppered[(peppered != 100).any(axis=2)]
    assert 300 < len(changed) <= 400  # some pixels are drawn twice
    assert {tuple(pixel) for pixel in changed} == {(0, 0, 0), (255, 255, 255)}
    assert (image == 100).all()


def test_pepper_on_all_pixels_at_most():
    with pytest.raises(ValueError, match=r'`share` is 1\.5, expected .* in \[0, 1\]'):
        TRANSFORMS.build(dict(type='RandomPepper', share=1.5))


def samples_of_any_size():
    samples = []
    for i, side in enumerate((40, 96, 70)):
        (sample,) = draw_samples(1, side)
        del sample.gt_edge_map
        samples.append(dict(inputs=torch.full((3, side, side), 50 * i).byte(), data_samples=sample))
    return samples


def test_batches_have_a_random_size_each():
    collate = FUNCTIONS.get('collate_at_random_size')
    np.random.seed(0)
    sizes = set()
    for _ in range(40):
        batch = collate(samples_of_any_size(), sides=(33, 100))
        (size,) = {tuple(image.shape[1:]) for image in batch['inputs']}
        for i, (image, sample) in enumerate(
            zip(batch['inputs'], batch['data_samples'], strict=True)
        ):
            assert image.dtype == torch.uint8 and (image == 50 * i).all()
            alpha = sample.gt_alpha.data
            assert tuple(alpha.shape) == (1, *size) == (1, *sample.img_shape)
            assert torch.equal(sample.gt_sem_seg.data, (alpha > 0.5).long())
        sizes.add(size)
    assert sizes == {(h, w) for h in (64, 96) for w in (64, 96)}


@pytest.mark.parametrize('sides', [(33, 60), (0, 20), (128, 64)], ids=str)
def test_sides_without_a_multiple_are_named(sides):
    with pytest.raises(ValueError, match=rf'{re.escape(str(sides))}, expected multiples of 32'):
        collate_at_random_size(samples_of_any_size(), sides=sides)


def test_an_edge_cannot_be_stretched():
    sample = dict(inputs=torch.zeros(3, 64, 64).byte(), data_samples=draw_samples(1, 64)[0])
    with pytest.raises(ValueError, match='expected a pipeline without .*GenerateDISEdge'):
        collate_at_random_size([sample])
