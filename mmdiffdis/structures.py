"""Fields and helpers of data samples that data, models and metrics share."""

import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.structures import BaseDataElement, PixelData
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from .utils.files import stem_of

# Learned map -> the sample's field with its ground truth, and the transform that makes it.
GT_FIELDS = {
    'mask': ('gt_alpha', 'LoadDISAnnotations'),
    'edge': ('gt_edge_map', 'GenerateDISEdge'),
}
# Fields of samples and pipelines that hold soft maps, not labels, whatever their type.
SOFT_FIELDS = tuple(field for field, _ in GT_FIELDS.values())

# Bilinear resizing in half precision exceeds [0, 1] by about one rounding step, logits by far more.
_ROUNDING = 1e-2

PIXELS = 'pixels'  # name of images beside latents


def pixels_key(name: str) -> str:
    """Returns the name of the ground truth 'mask' or 'edge' in pixels beside latents."""
    return f'gt_{name}'


def image_key(level: int) -> str:
    """Returns the name of the image latents at 1 / 2 ** level of the images' size."""
    return f'image_{level}'


def foreground_probability(data_sample: BaseDataElement | Mapping) -> Tensor:
    """Returns the foreground probability [H, W], float32 in [0, 1], of any mmseg-style prediction.

    `seg_logits` has two meanings in mmseg 1.x: one channel holds probabilities, since
    `postprocess_result` has applied the sigmoid; two channels hold logits (background, foreground),
    of which the softmax is taken here.

    Args:
        data_sample: `SegDataSample` with `seg_logits` [1 or 2, H, W], or its `to_dict()`, as
            metrics receive it.

    Raises:
        ValueError: If there is no `seg_logits`, it has not 1 or 2 channels, holds NaN or infinity,
            or a single channel exceeds [0, 1].
    """
    field = data_sample.get('seg_logits')
    if field is None:
        keys = sorted(data_sample.keys())
        raise ValueError(
            f"the data sample has no 'seg_logits', only {keys}. Pass a prediction, i.e. what "
            "`model.test_step` returns or a model's `mode='predict'` forward."
        )
    logits = field['data'] if isinstance(field, Mapping) else field.data
    if logits.ndim != 3 or logits.shape[0] not in (1, 2):
        raise ValueError(
            f"'seg_logits' has shape {tuple(logits.shape)}, expected [1, H, W] (foreground "
            'probability) or [2, H, W] (background and foreground logits). Train a segmentor for '
            'this task with `num_classes=2` (and `out_channels=1` for a single channel).'
        )
    logits = logits.detach().float()
    low, high = (bound.item() for bound in logits.aminmax())  # NaN if there is one
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            "'seg_logits' holds NaN or infinity: the model diverged or overflowed. Half precision "
            'is a common cause; predict in float32 or bfloat16.'
        )
    if logits.shape[0] == 2:
        return logits.softmax(dim=0)[1]
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"one-channel 'seg_logits' lies in [{low:.4g}, {high:.4g}], expected probabilities in "
            '[0, 1]: these look like logits. Apply the sigmoid in `predict`, as mmseg does for one '
            'channel.'
        )
    return logits[0] if low >= 0 and high <= 1 else logits[0].clamp(0, 1)


def stack_gt(name: str, data_samples: Sequence[BaseDataElement]) -> Tensor:
    """Returns the ground truth of a batch, masks or edges, [B, 1, H, W] float32 in [0, 1].

    Args:
        name: A key of `GT_FIELDS`.
        data_samples: Samples of one size, as `PackDISInputs` makes them.

    Raises:
        ValueError: If a sample has no such ground truth.
    """
    field, transform = GT_FIELDS[name]
    if any(field not in sample for sample in data_samples):
        raise ValueError(
            f"a sample has no '{field}', the ground truth of the {name}: expected "
            f"dict(type='{transform}') in the pipeline, or a model that does not need it "
            '(edge=False of a diffusion model)'
        )
    return torch.stack([sample.get(field).data for sample in data_samples]).float()


def resize_gt(sample: BaseDataElement, size: Sequence[int]) -> SegDataSample:
    """Returns a sample with the soft ground truth of another at `size` (H, W), antialiased."""
    resized = SegDataSample()
    for name in SOFT_FIELDS:
        if name in sample:
            gt = sample.get(name).data[None].float()
            gt = F.interpolate(gt, tuple(size), mode='bilinear', antialias=True)[0]
            resized.set_field(PixelData(data=gt), name)
    return resized


def to_original_size(maps: Tensor, metainfo: Mapping) -> Tensor:
    """Returns maps at the original size of their image, unflipped.

    Args:
        maps: Maps [C, h, w] in [0, 1], of any precision.
        metainfo: `ori_shape` (H, W) and, after a `flip`, `flip_direction`.

    Returns:
        Maps [C, H, W] float32 in [0, 1], antialiased where they shrink: Pillow's bilinear rule.
    """
    if metainfo.get('flip'):
        maps = maps.flip(2 if metainfo['flip_direction'] == 'horizontal' else 1)
    size = tuple(metainfo['ori_shape'][:2])
    maps = maps[None].float()  # CPUs have no antialiasing in half precision
    return F.interpolate(maps, size, mode='bilinear', antialias=True)[0].clamp_(0, 1)


def set_prediction(sample: BaseDataElement, mask: Tensor, threshold: float = 0.5) -> None:
    """Writes a foreground probability [1, H, W] to a sample.

    As `seg_logits` and, where it exceeds the threshold, as `pred_sem_seg` (0 or 1, uint8).
    """
    sample.set_data(
        dict(
            seg_logits=PixelData(data=mask),
            pred_sem_seg=PixelData(data=(mask > threshold).byte()),
        )
    )


def image_stem(sample: BaseDataElement) -> str:
    """Returns the stem of a sample's image file, '' for an image without one.

    Seeds the inference noise and names the files of results.
    """
    return sample.get('stem') or stem_of(sample.get('img_path') or '')
