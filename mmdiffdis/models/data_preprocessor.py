"""Batches for the autoencoder: images in [-1, 1], min-max stretching, CutMix."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from torch import Tensor

from ..structures import SOFT_FIELDS

# Ground truth whose values vary less is all background or all foreground, with the noise of a lossy
# file, which stretching would make a mask.
_SMALLEST_RANGE = 0.5


def stretch(x: Tensor) -> Tensor:
    """Returns `x` stretched to [0, 1] by its minimum and maximum; a constant is clipped."""
    low, high = x.min(), x.max()
    return torch.where(high > low, (x - low) / (high - low), x.clamp(0, 1))


def _stretch_gt(gt_map: Tensor) -> Tensor:
    varies = gt_map.max() - gt_map.min() >= _SMALLEST_RANGE
    return torch.where(varies, stretch(gt_map), gt_map)


class PairwiseCutMix:
    """CutMix inside pairs of a batch (0 with 1, 2 with 3, ...), images and ground truth together.

    Source: Yun et al. 2019; the ranges are those of DiffDIS' release.

    Args:
        prob: Probability that an image receives a box of its partner.
        area: Range of the box's share of the image.
        aspect: Range of the box's height over its width (log-uniform).
    """

    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 3.3),
    ):
        self.prob, self.area, self.aspect = prob, area, aspect

    def sample_box(self, height: int, width: int) -> tuple[slice, slice]:
        """Returns rows and columns of a random box inside the image."""
        area = torch.empty(()).uniform_(*self.area).item() * height * width
        low, high = torch.tensor(self.aspect).log().tolist()
        aspect = torch.empty(()).uniform_(low, high).exp().item()
        rows = min(height, max(1, round((area * aspect) ** 0.5)))
        columns = min(width, max(1, round((area / aspect) ** 0.5)))
        top = int(torch.randint(height - rows + 1, ()))
        left = int(torch.randint(width - columns + 1, ()))
        return slice(top, top + rows), slice(left, left + columns)

    def __call__(self, batches: Sequence[Tensor]) -> list[Tensor]:
        """Pastes the same boxes in all `batches` [B, C_i, H, W]; an odd last image stays."""
        mixed = [batch.clone() for batch in batches]
        size, _, height, width = batches[0].shape
        for i in range(size - size % 2):
            if torch.rand(()) < self.prob:
                rows, columns = self.sample_box(height, width)
                partner = i ^ 1
                for target, source in zip(mixed, batches, strict=True):
                    target[i, :, rows, columns] = source[partner, :, rows, columns]
        return mixed


@MODELS.register_module()
class DISDataPreProcessor(BaseDataPreprocessor):
    """Stacks images, scales them to [-1, 1] and mixes training batches.

    Args:
        min_max: Stretch each training image and mask by its minimum and maximum, as the released
            training does, except masks whose values differ by less than 0.5; test images are always
            `x / 127.5 - 1`.
        cutmix: Arguments of `PairwiseCutMix`, applied in training; None: no CutMix.
        bgr_to_rgb: Reverse the channels.
        non_blocking: Copy to the device asynchronously.
    """

    def __init__(
        self,
        min_max: bool = False,
        cutmix: dict | None = None,
        bgr_to_rgb: bool = True,
        non_blocking: bool = False,
    ):
        super().__init__(non_blocking)
        self.min_max = min_max
        self.cutmix = PairwiseCutMix(**cutmix) if cutmix else None
        self.bgr_to_rgb = bgr_to_rgb

    def forward(self, data: dict, training: bool = False) -> dict:
        """Returns a batch.

        Args:
            data: 'inputs': B uint8 images [3, H, W], or a dict of B latents each (of a
                `LatentDataset`), which are only stacked; 'data_samples': their samples, optional.
            training: Stretch and mix.

        Returns:
            'inputs': [B, 3, H, W] float32 in [-1, 1]; 'data_samples', whose `gt_alpha` and
            `gt_edge_map` are stretched and mixed in training like the images.

        Raises:
            ValueError: If the images have different sizes, or latents are to be mixed.
        """
        data = self.cast_data(data)
        if isinstance(data['inputs'], dict):
            return self._stack_latents(data)
        images, samples = list(data['inputs']), data.get('data_samples')
        sizes = sorted({tuple(image.shape[-2:]) for image in images})
        if len(sizes) > 1:
            raise ValueError(
                f'a batch of images of different sizes {sizes}: expected one size; resize to a '
                "fixed one (dict(type='DISResize', scale=(W, H))) or use a batch size of 1"
            )
        images = [image.float() / 255 for image in images]
        if training and self.min_max:
            images = [stretch(image) for image in images]
        inputs = torch.stack(images) * 2 - 1
        if self.bgr_to_rgb:
            inputs = inputs.flip(1)
        if training and samples:
            inputs = self._mix(inputs, samples)
        return dict(inputs=inputs, data_samples=samples)

    def _stack_latents(self, data: dict) -> dict:
        if self.cutmix is not None:
            raise ValueError(
                'latents cannot be mixed: expected model.data_preprocessor.cutmix=None with a '
                'LatentDataset'
            )
        inputs = {
            name: torch.stack([z.float() for z in batch]) for name, batch in data['inputs'].items()
        }
        return {**data, 'inputs': inputs}

    def _mix(self, inputs: Tensor, samples: list) -> Tensor:
        """Stretches and mixes images and the ground truth in `samples` (in place).

        mmseg keeps ground truth in samples: it is stacked to be mixed, and unstacked again.
        """
        names = [name for name in SOFT_FIELDS if name in samples[0]]
        gt = [torch.stack([sample.get(name).data for sample in samples]) for name in names]
        if self.min_max:
            gt = [torch.stack([_stretch_gt(gt_map) for gt_map in maps]) for maps in gt]
        if self.cutmix is not None:
            inputs, *gt = self.cutmix([inputs, *gt])
        for name, maps in zip(names, gt, strict=True):
            for sample, gt_map in zip(samples, maps, strict=True):
                sample.set_field(PixelData(data=gt_map), name)
        return inputs
