"""Losses of masks that several baselines may share."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
# Wang et al. 2004, for a dynamic range of 1
SSIM_CONSTANTS = (0.01**2, 0.03**2)


def border_weight(target: Tensor) -> Tensor:
    """Returns the weights of pixels in the `structure_loss` of a target, of its shape.

    A pixel's weight grows with its difference from the mean of its neighbourhood, where pixels
    outside the target are zero. Source: Wei et al., F3Net, AAAI 2020.
    """
    mean = target
    for window in ((31, 1), (1, 31)):  # columns, then rows: 62 pixels are read instead of 961
        mean = F.avg_pool2d(mean, window, stride=1, padding=tuple(side // 2 for side in window))
    return 1 + 5 * (mean - target).abs()


def structure_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Returns cross entropy plus 1 - IoU, both with pixels near the mask's border weighted more.

    Args:
        logits: [B, 1, h, w].
        target: [B, 1, H, W] in [0, 1]; resized to the logits' size by nearest neighbour.
    """
    target = F.interpolate(target, logits.shape[-2:], mode='nearest')
    weight = border_weight(target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    probability = logits.sigmoid()
    pixels = (1, 2, 3)
    entropy = (weight * entropy).sum(pixels) / weight.sum(pixels)
    intersection = (weight * probability * target).sum(pixels)
    union = (weight * (probability + target)).sum(pixels) - intersection
    return (entropy + 1 - (intersection + 1) / (union + 1)).mean()


def bce_iou_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Returns mean cross entropy plus 1 - IoU with a smoothing of one pixel, mean over the batch.

    Args:
        logits: [B, 1, h, w].
        target: [B, 1, H, W] in [0, 1]; resized to the logits' size bilinearly.
    """
    target = F.interpolate(target, logits.shape[-2:], mode='bilinear')
    probability = logits.sigmoid()
    pixels = (1, 2, 3)
    intersection = (probability * target).sum(pixels)
    union = (probability + target).sum(pixels) - intersection
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    return entropy + (1 - (intersection + 1) / (union + 1)).mean()


def hard_cross_entropy(logits: Tensor, labels: Tensor, threshold: float, min_kept: int) -> Tensor:
    """Returns the mean cross entropy of hard pixels, those of a low probability of their label.

    Source: online hard example mining, Shrivastava et al., CVPR 2016. mmseg's `OhemCrossEntropy`
    leaves out the easiest of the pixels that must count.

    Args:
        logits: [N, classes, ...].
        labels: Classes, [N, ...].
        threshold: Pixels count if the probability of their label is at most this.
        min_kept: So many pixels with the lowest probabilities count anyway, or all there are.
    """
    entropy = F.cross_entropy(logits, labels, reduction='none').flatten()
    bound = entropy.detach().topk(min(min_kept, len(entropy)), sorted=False).values.min()
    return entropy[entropy >= bound.clamp(max=-math.log(threshold))].mean()


def iou_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - soft intersection over union, **summed** over the batch.

    Args:
        probability: [B, 1, H, W] in [0, 1].
        target: [B, 1, H, W] in [0, 1].
    """
    intersection = (probability * target).sum(dim=(1, 2, 3))
    union = probability.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3)) - intersection
    return (1 - intersection / union).sum()


def ssim_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Returns (1 - SSIM) / 2 in [0, 1], mean over pixels; Gaussian window, zero padding.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity
    (2004).

    Args:
        probability: [B, 1, H, W] in [0, 1].
        target: [B, 1, H, W] in [0, 1].
    """
    products = torch.stack(
        [probability, target, probability**2, target**2, probability * target]
    )  # [5, B, 1, H, W]
    mean_p, mean_t, *moments = _gaussian_mean(products.flatten(0, 1)).unflatten(0, (5, -1))
    variance_p, variance_t, covariance = (
        moment - product
        for moment, product in zip(moments, (mean_p**2, mean_t**2, mean_p * mean_t), strict=True)
    )
    c1, c2 = SSIM_CONSTANTS
    luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_t + c2)
    return (1 - (luminance * structure).mean()) / 2


def _gaussian_mean(x: Tensor) -> Tensor:
    """Returns [N, 1, H, W] filtered with SSIM's window.

    Two products with banded matrices: exact in single precision, where GPUs' convolutions round by
    default, and on a CPU many times as fast as a convolution of one channel.
    """
    rows, columns = (_gaussian_band(side, x) for side in x.shape[-2:])
    return rows @ x @ columns


def _gaussian_band(side: int, like: Tensor) -> Tensor:
    """Returns [side, side] whose row i is SSIM's window in one dimension, centred at i."""
    positions = torch.arange(side, device=like.device)
    distances = (positions[:, None] - positions).abs()
    offsets = torch.arange(SSIM_WINDOW, device=like.device) - SSIM_WINDOW // 2
    band, window = (torch.exp(-(d**2) / (2 * SSIM_SIGMA**2)) for d in (distances, offsets))
    band = band.where(distances <= SSIM_WINDOW // 2, 0) / window.sum()
    return band.to(like.dtype)
