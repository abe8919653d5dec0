"""Losses of the baselines against plain formulas and other libraries."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from mmdiffdis.models.baselines.losses import (
    bce_iou_loss,
    border_weight,
    hard_cross_entropy,
    iou_loss,
    ssim_loss,
    structure_loss,
)


@pytest.mark.parametrize('size', [(64, 48), (20, 90)], ids=str)  # also below the window
def test_border_weight_is_the_difference_from_the_mean_of_31x31_pixels(size):
    target = torch.rand(2, 1, *size).round()
    mean = uniform_filter(target.double().numpy(), (1, 1, 31, 31), mode='constant')
    expected = 1 + 5 * np.abs(mean - target.numpy())
    np.testing.assert_allclose(border_weight(target).numpy(), expected, rtol=1e-5)


def test_structure_loss_of_a_plain_mask_is_cross_entropy_and_iou():
    # a mask of zeros equals its neighbourhood, also at the border: all weights are 1
    logits, target = torch.full((1, 1, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    probability = logits.sigmoid()
    entropy = -(1 - probability).log().mean()
    iou = 1 - 1 / (probability.sum() + 1)
    torch.testing.assert_close(structure_loss(logits, target), entropy + iou)


def test_bce_iou_loss_is_a_mean_with_a_smoothed_iou_of_each_image():
    logits, target = torch.randn(3, 1, 4, 5), torch.rand(3, 1, 8, 10).round()
    p, t = logits.sigmoid().numpy(), F.avg_pool2d(target, 2).numpy()  # halved bilinearly
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    intersections, sums = (x.sum((1, 2, 3)) for x in (p * t, p + t))
    iou = ((intersections + 1) / (sums - intersections + 1)).mean()
    assert bce_iou_loss(logits, target).item() == pytest.approx(entropy + 1 - iou, rel=1e-5)


def test_iou_loss_is_summed_over_the_batch():
    probability, target = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 4, 5).round()
    pairs = zip(probability.numpy(), target.numpy(), strict=True)
    expected = sum(1 - (p * t).sum() / (p + t - p * t).sum() for p, t in pairs)
    torch.testing.assert_close(iou_loss(probability, target).item(), float(expected))


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


@pytest.mark.parametrize(
    'threshold, min_kept, counted',
    [(0.5, 1, (0.1, 0.3, 0.5)), (0.2, 2, (0.1, 0.3)), (0.5, 9, (0.1, 0.3, 0.5, 0.8, 0.9))],
)
def test_hard_pixels_are_the_improbable_ones_or_at_least_so_many(threshold, min_kept, counted):
    probability = torch.tensor([0.9, 0.1, 0.5, 0.8, 0.3])
    logits, labels = torch.stack([probability, 1 - probability], dim=1).log(), torch.zeros(5).long()
    loss = hard_cross_entropy(logits, labels, threshold + 1e-6, min_kept)
    assert loss.item() == pytest.approx(-np.log(counted).mean())
