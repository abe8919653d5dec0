"""InSPyReNet: the numbers of the released implementation, and its parts against plain formulas."""

import cv2
import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import DEVICE, ROOT, draw_samples, normal
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch.nn import functional as F

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.models.baselines.inspyrenet.network import (
    AxialAttention,
    Pyramid,
    ScaleInvariantContextAttention,
    blend,
    transition,
)
from mmdiffdis.models.baselines.inspyrenet.segmentor import saliency_loss
from mmdiffdis.models.baselines.layers.swin import five_maps

CONFIGS = ROOT / 'configs' / 'inspyrenet'
SMALL = 'inspyrenet/inspyrenet_small_1xb16-1k2_synthetic-dis-128x128'
RES2NET = 'inspyrenet/inspyrenet-lr_res2net-50_1xb6-180e_dis5k-384x384'


class InSPyReNetTester(BaselineTester):
    TOLERANCE = 5e-5  # two back ends of convolutions differ by 3e-5
    SUM_TOLERANCE = 1e-3

    @classmethod
    def build(cls, golden):
        return build(cls.CONFIG, base_size=golden.meta['base_size'])

    def maps(self, released):
        golden, network, images = released.golden, released.model.network, released.images
        pyramids = {'': released.outputs.pyramid}
        large, small = (
            network.pyramid(
                normal(golden.meta['seed'] + offset, golden.meta['inputs'][name]).to(DEVICE)
            )
            for offset, name in ((4, 'blend_image'), (3, 'blend_image_resized'))
        )
        pyramids['blend_'] = blend(small.saliency[0], large)
        maps = {}
        for prefix, pyramid in pyramids.items():
            maps |= {f'{prefix}d{i}': level for i, level in enumerate(pyramid.saliency)}
            maps |= {f'{prefix}p{i}': level for i, level in enumerate(pyramid.laplacian)}
        features = enumerate(five_maps(network.backbone, images), start=1)
        contexts = enumerate(network.contexts(images), start=1)
        maps |= {f'feat{i}': level for i, level in features}
        maps |= {f'ctx{i}': level for i, level in contexts}
        return {name: level for name, level in maps.items() if name in golden.raw}

    def losses(self, released):
        return dict(eval_total=sum(released.losses.values()))


@pytest.mark.slow  # of full size
class TestSwin(InSPyReNetTester):
    NAME = 'inspyrenet_swinb'
    CONFIG = 'inspyrenet/inspyrenet_swin-b_1xb1-180e_dis5k-1024x1024'


@pytest.mark.slow  # of full size
class TestRes2Net(InSPyReNetTester):
    NAME = 'inspyrenet_res2net50'
    CONFIG = RES2NET
    TRAINING_LOSS = 'train_total'


# ----------------------------------------------------------------------------------- its parts


@pytest.mark.parametrize('side', [5, 9, 17])
def test_transitions_are_opencvs_dilation_minus_erosion(side):
    # smooth, so that some ellipses reach a border and others do not
    torch.manual_seed(0)
    logits = 40 * F.avg_pool2d(torch.randn(2, 1, 60, 72), 21, stride=1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    for image, result in zip(logits.sigmoid().numpy(), transition(logits, side), strict=True):
        difference = cv2.dilate(image[0], kernel) - cv2.erode(image[0], kernel)
        np.testing.assert_array_equal(result[0].numpy(), difference > 0.5)
    assert 0.02 < transition(logits, side).mean() < 0.98


def test_details_far_from_borders_are_ignored():
    sides = (128, 64, 32, 16)
    levels = [0.1 * torch.randn(1, 1, side, side) for side in sides]
    fine = Pyramid(levels, levels[:-1])
    ramp = torch.linspace(-40, 40, 64).expand(1, 1, 64, 64)  # one border, in the middle
    blended = blend(ramp, fine)
    for level, (details, all_details) in enumerate(
        zip(blended.laplacian, fine.laplacian, strict=True)
    ):
        middle = details.shape[-1] // 2
        assert torch.equal(details[..., middle], all_details[..., middle]), level
        assert not details[..., : middle // 4].any() and not details[..., -middle // 4 :].any()
    assert blended.saliency[0].shape == (1, 1, 128, 128)


@torch.no_grad()
def test_attention_reads_a_map_in_rows_of_its_axis_length():
    torch.manual_seed(0)
    attention = AxialAttention(16, axis=-2).eval()
    attention.gamma.fill_(0.7)
    x = torch.randn(1, 16, 3, 4)
    layers = (attention.query_conv, attention.key_conv, attention.value_conv)
    query, key, value = (layer(x).numpy().reshape(-1, 3) for layer in layers)
    weights = np.exp(query.T @ key)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = 0.7 * (value @ weights.T).reshape(x.shape) + x.numpy()
    np.testing.assert_allclose(attention(x).numpy(), expected, atol=1e-5)


@torch.no_grad()
def test_contexts_of_large_images_do_not_overflow_in_half_precision():
    attention = ScaleInvariantContextAttention(8, 8, (512, 512), laplacian=True)  # normalises
    x, coarse = torch.rand(1, 8, 16, 16) + 1, 8 * torch.ones(1, 1, 8, 8)  # sums near 200000
    expected = attention(x, coarse, coarse)
    with torch.autocast('cpu', torch.float16):
        results = attention(x, coarse, coarse)
    for result, reference in zip(results, expected, strict=True):
        assert result.isfinite().all()
        assert (result - reference).abs().max() < 0.02 * reference.abs().max()


def test_runs_on_the_meta_device_where_operations_are_counted():
    network = build(SMALL).network.to('meta')
    logits = network(torch.empty(1, 3, 128, 160, device='meta')).logits
    assert logits.shape == (1, 1, 128, 160)


def test_saliency_loss_is_a_plain_mean_over_pixels():
    logits, target = torch.randn(1, 1, 40, 50), (torch.rand(1, 1, 40, 50) > 0.5).float()
    p, t = logits[0, 0].sigmoid().double().numpy(), target[0, 0].double().numpy()
    padded = np.pad(t, 15)
    mean = np.array([[padded[y : y + 31, x : x + 31].mean() for x in range(50)] for y in range(40)])
    entropy = -np.log(np.where(t == 1, p, 1 - p))
    iou = (p * t + 1) / (p + t - p * t + 1)
    expected = ((1 + 5 * np.abs(mean - t)) * entropy).mean() + (1 - iou).mean()
    assert saliency_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------ sizes of images


@torch.no_grad()
def test_pyramids_are_blended_above_a_size_alone():
    model = build(SMALL, base_size=(64, 64), **{'test_cfg.blend_above': 96})
    network = model.network
    for size, blends in (((96, 200), False), ((97, 200), True)):
        images = torch.randn(1, 3, *size)
        logits = model.run(images).logits
        if blends:
            padded = F.pad(images, (0, 24, 0, 31), mode='replicate')  # to 128, 224
            near = F.interpolate(padded, (64, 64), mode='bilinear', antialias=True)
            pyramid = blend(network.pyramid(near).saliency[0], network.pyramid(padded))
            torch.testing.assert_close(logits, pyramid.saliency[0][..., :97, :200])
        else:  # seen at 64x64 alone
            near = F.interpolate(images, (64, 64), mode='bilinear', antialias=True)
            torch.testing.assert_close(logits, network.pyramid(near).saliency[0])
        (sample,) = model.predict(images)
        assert sample.seg_logits.data.shape == (1, *size)


def test_training_does_not_blend():
    model = build(SMALL, base_size=(64, 64), **{'test_cfg.blend_above': 96}).train()
    outputs = model.run(torch.randn(1, 3, 128, 128))
    assert outputs.logits is not None and outputs.logits.requires_grad
    losses = model.loss(torch.randn(1, 3, 64, 64), draw_samples(1, 64))
    assert all(loss.isfinite() for loss in losses.values())
    torch.testing.assert_close(outputs.logits, outputs.pyramid.saliency[0])


def test_base_size_that_the_pyramid_cannot_halve_is_named():
    with pytest.raises(ValueError, match=r'base_size=\(100, 128\): expected multiples of 32'):
        build(SMALL, base_size=(100, 128))


def test_test_of_lr_shrinks_the_shorter_side_and_keeps_its_ratio():
    config = Config.fromfile(CONFIGS / 'inspyrenet-lr_swin-b_1xb6-180e_dis5k-384x384.py')
    steps = Compose(without_loading(config.test_dataloader.dataset.pipeline))
    image = np.zeros((1600, 3200, 3), np.uint8)
    results = steps(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    assert results['inputs'].shape == (3, 1280, 2560)
    assert config.model.test_cfg == dict(min_max=True, blend_above=512)


# -------------------------------------------------------------------------------- its training


def test_rates_are_the_released_ones_but_for_the_product_in_the_warmup():
    config = Config.fromfile(CONFIGS / 'inspyrenet_swin-b_1xb1-180e_dis5k-1024x1024.py')
    model = torch.nn.ModuleDict({name: torch.nn.Linear(1, 1) for name in ('backbone', 'decoder')})
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    warmup, decay = config.param_scheduler
    warmup = PARAM_SCHEDULERS.build({**warmup, 'end': 24, 'optimizer': optimizer})
    build_poly = PARAM_SCHEDULERS.get(decay.pop('type')).build_iter_from_epoch
    del decay['convert_to_iter_based']
    decay = build_poly(**decay, optimizer=optimizer, epoch_length=2)
    last = 2 * config.train_cfg.max_epochs
    rates = []
    for _ in range(last):
        rates.append(optimizer.get_lr()['lr'])
        warmup.step()
        decay.step()
    rates = np.array(rates)
    steps = np.arange(last)[:, None]
    groups = np.array([1e-5, 1e-5, 1e-4, 1e-4])  # weight and bias of both
    expected = (groups - 1e-7) * (1 - steps / last) ** 0.9 + 1e-7
    np.testing.assert_allclose(rates[24:], expected[24:], rtol=0, atol=6e-7)
    slope = groups * np.minimum(1, 0.1 + 0.9 * steps / 24)
    np.testing.assert_allclose(rates[:24], np.minimum(slope, expected)[:24], rtol=0.07)
