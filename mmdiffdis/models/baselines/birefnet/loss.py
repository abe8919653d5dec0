"""What BiRefNet is trained on: masks of four sizes against one truth, and their gradients."""

from collections.abc import Sequence

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn
from torch.nn import functional as F

from .network import resize

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
# Wang et al. 2004 for a dynamic range of 1.
SSIM_CONSTANTS = (0.01**2, 0.03**2)


def iou_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """1 - soft intersection over union, **summed** over the batch.

    Args:
        probability: [B, 1, H, W] in [0, 1].
        truth: [B, 1, H, W] in [0, 1].
    """
    intersection = (probability * truth).sum(dim=(1, 2, 3))
    union = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)) - intersection
    return (1 - intersection / union).sum()


def ssim_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """(1 - SSIM) / 2 in [0, 1], mean over the pixels; Gaussian window, zeros outside the image.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity
    (2004).

    Args:
        probability: [B, 1, H, W] in [0, 1].
        truth: [B, 1, H, W] in [0, 1].
    """
    products = torch.stack(
        [probability, truth, probability**2, truth**2, probability * truth]
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
    """[N, 1, H, W] under SSIM's window, of the same size.

    Two products with banded matrices: exact in single precision, where GPUs' convolutions round by
    default, and on a CPU many times as fast as a convolution of one channel.
    """
    rows, columns = (_gaussian_band(side, x) for side in x.shape[-2:])
    return rows @ x @ columns


def _gaussian_band(side: int, like: Tensor) -> Tensor:
    """Row i: SSIM's window in one dimension around position i, [side, side]."""
    positions = torch.arange(side, device=like.device)
    distances = (positions[:, None] - positions).abs()
    offsets = torch.arange(SSIM_WINDOW, device=like.device) - SSIM_WINDOW // 2
    band, window = (torch.exp(-(d**2) / (2 * SSIM_SIGMA**2)) for d in (distances, offsets))
    band = band.where(distances <= SSIM_WINDOW // 2, 0) / window.sum()
    return band.to(like.dtype)


def laplacian(images: Tensor) -> Tensor:
    """24 / 48 of what a pixel of the channels' mean lacks to its 24 neighbours' mean.

    The normalised 5x5 Laplacian: ones around -24, over the sum of the magnitudes; mirrored borders.

    Args:
        images: [B, C, H, W].

    Returns:
        [B, 1, H, W].
    """
    grey = images.mean(dim=1, keepdim=True)
    total = 25 * F.avg_pool2d(F.pad(grey, (2, 2, 2, 2), mode='reflect'), 5, stride=1)
    return (total - 25 * grey) / 48


class BiRefNetLoss(nn.Module):
    """Binary cross entropy, soft IoU and SSIM of each mask; cross entropy of the gradients.

    The weights are the released training's; :class:`RegionFinetuneHook` changes them.

    Args:
        bce: weight of the mean cross entropy of a mask.
        iou: weight of its :func:`iou_loss`.
        ssim: weight of its :func:`ssim_loss`.
        gradient: weight of the gradients'.
    """

    def __init__(
        self, bce: float = 30.0, iou: float = 0.5, ssim: float = 10.0, gradient: float = 1.0
    ):
        super().__init__()
        self.bce = bce
        self.iou = iou
        self.ssim = ssim
        self.gradient = gradient

    def forward(
        self,
        images: Tensor,
        mask: Tensor,
        sides: Sequence[tuple[Tensor, Tensor]],
        truth: Tensor,
    ) -> dict[str, Tensor]:
        """Weighted losses, each summed over the masks.

        Args:
            images: the network's input, [B, 3, H, W].
            mask: its logits, [B, 1, H, W].
            sides: logits of mask and gradient of its levels, [B, 1, h, w] each.
            truth: [B, 1, H, W] in [0, 1].

        Returns:
            'loss_bce', 'loss_iou', 'loss_ssim', 'loss_gradient'.
        """
        # Variances are small differences of large numbers, too small for half precision.
        with torch.autocast(images.device.type, enabled=False):
            logits = [resize(m.float(), truth.shape[-2:]) for m in (*(m for m, _ in sides), mask)]
            masks = [one.sigmoid() for one in logits]
            gradient = sum(self._gradient_loss(laplacian(images.float()), *side) for side in sides)
            return dict(
                loss_bce=self.bce
                * sum(F.binary_cross_entropy_with_logits(one, truth) for one in logits),
                loss_iou=self.iou * sum(iou_loss(one, truth) for one in masks),
                loss_ssim=self.ssim * sum(ssim_loss(one, truth) for one in masks),
                loss_gradient=self.gradient * gradient,
            )

    @staticmethod
    def _gradient_loss(image_gradient: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
        """Cross entropy of a level's gradient with the image's where the level sees the object.

        The target follows from the mask's logits and is not detached: the gradient trains the mask
        as well.
        """
        size = image_gradient.shape[-2:]
        target = (image_gradient * resize(mask.float(), size)).sigmoid()
        return F.binary_cross_entropy_with_logits(resize(gradient.float(), size), target)


@HOOKS.register_module()
class RegionFinetuneHook(Hook):
    """Ends the training without pixelwise cross entropy: regions and structures alone.

    In each of the last epochs the weight of the IoU is half of that in the epoch before, so that
    SSIM remains. (Released training: 40 epochs for DIS5K.)

    Args:
        epochs: how many, at the end of the training.
    """

    def __init__(self, epochs: int = 40) -> None:
        self.epochs = epochs

    def before_train(self, runner: Runner) -> None:
        """Notes the weights that the training begins with, whether it is resumed or not."""
        loss = self._loss(runner)
        self._bce, self._iou = loss.bce, loss.iou

    def before_train_epoch(self, runner: Runner) -> None:
        """Sets the weights of this epoch."""
        loss = self._loss(runner)
        halvings = max(0, runner.epoch + 1 - (runner.max_epochs - self.epochs))
        loss.bce = 0.0 if halvings else self._bce
        loss.iou = self._iou * 0.5**halvings

    @staticmethod
    def _loss(runner: Runner) -> BiRefNetLoss:
        model = runner.model
        return (model.module if is_model_wrapper(model) else model).criterion
