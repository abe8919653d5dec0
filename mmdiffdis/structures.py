"""What models and data agree on: truths, one reading of predictions, the names of latents."""

import math
from collections.abc import Mapping, Sequence

import torch
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor
from torch.nn import functional as F

from .utils.files import stem_of

# What is learned -> the field of a sample that holds it, and the transform that makes it.
TRUTHS = {
    'mask': ('gt_alpha', 'LoadDISAnnotations'),
    'edge': ('gt_edge_map', 'GenerateDISEdge'),
}
# Their names, in samples and in pipelines, where they are no labels, whatever their type.
SOFT_FIELDS = tuple(field for field, _ in TRUTHS.values())

# Bilinear resizing in half precision leaves [0, 1] by about one rounding step; logits leave it by
# far.
_ROUNDING = 1e-2


def image_key(level: int) -> str:
    """The name of images' latents at 1 / 2 ** level of their size, where latents have names."""
    return f'image_{level}'


def foreground_probability(data_sample: BaseDataElement | Mapping) -> Tensor:
    """Foreground probability [H, W], float32 in [0, 1], of any mmseg-style prediction.

    ``seg_logits`` means two things in mmseg 1.x: with one channel ``postprocess_result`` has
    already applied the sigmoid, so it holds probabilities; with two channels it holds raw logits
    (background, foreground), which are soft-maxed here.

    Args:
        data_sample: ``SegDataSample`` with ``seg_logits`` [1 or 2, H, W], or its ``to_dict()``
            form, which is what metrics receive.

    Raises:
        ValueError: if there is no ``seg_logits``, it is not of 1 or 2 channels, holds NaN or
            infinity, or a single channel leaves [0, 1].
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


def stack_truth(name: str, data_samples: Sequence[BaseDataElement]) -> Tensor:
    """Masks or edges of a batch, [B, 1, H, W] float32 in [0, 1].

    Args:
        name: a key of ``TRUTHS``.
        data_samples: of one size, as ``PackDISInputs`` makes them.

    Raises:
        ValueError: if a sample has none.
    """
    field, transform = TRUTHS[name]
    if any(field not in sample for sample in data_samples):
        raise ValueError(
            f"a sample without '{field}', the true {name}: expected dict(type='{transform}') in "
            'the pipeline, or a model that does without (edge=False of a diffusion model)'
        )
    return torch.stack([sample.get(field).data for sample in data_samples]).float()


def to_original_size(maps: Tensor, metainfo: Mapping) -> Tensor:
    """Maps of a possibly flipped image, turned back, at its original size.

    Args:
        maps: [C, h, w] in [0, 1].
        metainfo: ``ori_shape`` (H, W) and, if there was a ``flip``, ``flip_direction``.

    Returns:
        [C, H, W] in [0, 1]; antialiased where it shrinks: what Pillow's bilinear does, in float.
    """
    if metainfo.get('flip'):
        maps = maps.flip(2 if metainfo['flip_direction'] == 'horizontal' else 1)
    size = tuple(metainfo['ori_shape'][:2])
    return F.interpolate(maps[None], size, mode='bilinear', antialias=True)[0].clamp_(0, 1)


def set_prediction(sample: BaseDataElement, mask: Tensor, threshold: float = 0.5) -> None:
    """Notes a foreground probability [1, H, W] in a sample, in mmseg's way.

    As ``seg_logits`` and, exceeding the threshold, ``pred_sem_seg`` (0 or 1, uint8).
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
