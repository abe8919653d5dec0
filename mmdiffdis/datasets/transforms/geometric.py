"""Geometric transforms that keep soft masks soft, and aligned with the image.

Cropping and flipping need nothing special: mmseg's RandomFlip and RandomCrop work on every name in
``seg_fields``.
"""

from typing import Literal

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import Resize
from mmseg.registry import TRANSFORMS
from PIL import Image
from torch.nn.functional import interpolate

from ...structures import SOFT_FIELDS


def _is_soft(name: str, field: np.ndarray) -> bool:
    return name in SOFT_FIELDS or np.issubdtype(field.dtype, np.floating)


@TRANSFORMS.register_module()
class DISResize(Resize):
    """mmseg's Resize with Pillow's anti-aliased bilinear filter.

    Image and soft fields are treated alike. Label maps are resized by nearest neighbour.

    Args:
        scale: (width, height), or one number for both.
        scale_factor: factor(s) instead of ``scale``.
        keep_ratio: whether ``scale`` is a bound instead of the exact size.
        backend: ``'pillow'``; ``'torch'``: the same filter, several times as fast, with other
            roundings (up to one grey level); or ``'cv2'``: OpenCV's bilinear, which does not smooth
            what it shrinks.

    Raises:
        ValueError: if there is no such backend.
    """

    def __init__(
        self,
        scale: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
        backend: Literal['pillow', 'torch', 'cv2'] = 'pillow',
    ) -> None:
        if backend not in ('pillow', 'torch', 'cv2'):
            raise ValueError(
                f"`backend` is '{backend}', expected one of ['pillow', 'torch', 'cv2']."
            )
        super().__init__(scale, scale_factor, keep_ratio, backend=backend, interpolation='bilinear')

    def _resize_img(self, results: dict) -> None:
        if self.backend != 'torch':
            super()._resize_img(results)
            return
        height, width = results['img'].shape[:2]
        size = results['scale']
        if self.keep_ratio:
            size = mmcv.rescale_size((width, height), size)
        results['img'] = _resize_with_torch(results['img'], size)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = (size[0] / width, size[1] / height)
        results['keep_ratio'] = self.keep_ratio

    def _resize_seg(self, results: dict) -> None:
        size = results['img_shape'][::-1]
        names = [name for name in results.get('seg_fields', []) if results.get(name) is not None]
        fields = {name: results[name] for name in names}
        soft = {name: field for name, field in fields.items() if _is_soft(name, field)}
        if self.backend == 'torch':
            results.update(_resize_together_with_torch(soft, size))
            fields = {name: field for name, field in fields.items() if name not in soft}
        for name, field in fields.items():
            if name not in soft:  # as Pillow's
                results[name] = cv2.resize(field, size, interpolation=cv2.INTER_NEAREST_EXACT)
            elif self.backend == 'cv2':
                results[name] = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
            else:
                field = Image.fromarray(field).resize(size, Image.Resampling.BILINEAR)
                results[name] = np.array(field)


def _resize_together_with_torch(
    fields: dict[str, np.ndarray], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Fields [H, W] at the size (width, height).

    Those of 8 bits as the channels of one picture of three, which torch is fastest with.
    """
    floats = {name: field for name, field in fields.items() if field.dtype != np.uint8}
    resized = {name: _resize_with_torch(field, size) for name, field in floats.items()}
    names = [name for name in fields if name not in floats]
    if names:  # one or two
        picture = cv2.merge([fields[name] for name in (names * 3)[:3]])
        resized |= zip(names, np.moveaxis(_resize_with_torch(picture, size), 2, 0), strict=False)
    return resized


def _resize_with_torch(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W, 3] or a field [H, W] at the size (width, height)."""
    if min(array.strides) < 0:  # a mirrored view, which torch does not take
        array = np.ascontiguousarray(array)
    # a batch from the start: torch then knows that channels come last, and leaves them there
    batch = torch.from_numpy(np.atleast_3d(array)[None]).permute(0, 3, 1, 2)
    batch = interpolate(batch, size[::-1], mode='bilinear', antialias=True)
    return batch.permute(0, 2, 3, 1).contiguous().numpy().reshape(*size[::-1], *array.shape[2:])


@TRANSFORMS.register_module()
class DISRandomCenterCrop(BaseTransform):
    """Cut a random 1 to ``max_border`` pixels off width and off height, half of them at each side.

    The window is centred. (DiffDIS' released training, as many salient object detectors: 30
    pixels.)

    Args:
        max_border: largest sum of the two borders cut off, per direction, in pixels.
    """

    def __init__(self, max_border: int = 30) -> None:
        if max_border < 1:
            raise ValueError(f'`max_border` is {max_border}, expected at least 1 pixel.')
        self.max_border = max_border

    @cache_randomness
    def _draw_border(self, length: int) -> int:
        # at least one pixel must remain of a very small image
        return np.random.randint(1, self.max_border + 1) if length > self.max_border else 0

    def transform(self, results: dict) -> dict:
        """Crop ``img`` and all ``seg_fields``; update ``img_shape``."""
        height, width = results['img'].shape[:2]
        border_x, border_y = self._draw_border(width), self._draw_border(height)
        left, top = border_x // 2, border_y // 2
        rows = slice(top, top + height - border_y)
        columns = slice(left, left + width - border_x)
        for key in ('img', *results.get('seg_fields', [])):
            results[key] = results[key][rows, columns]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_border={self.max_border})'


@TRANSFORMS.register_module()
class DISRandomRotate(BaseTransform):
    """Rotate about the centre, size unchanged, black corners: image and soft fields bilinear.

    mmseg's RandomRotate resamples every annotation by nearest neighbour and fills corners with one
    value for all, which breaks soft masks. (DiffDIS' released training is bicubic throughout, which
    takes six times as long and overshoots a mask's range; of pictures that are halved or more
    afterwards, hardly a difference remains.)

    Args:
        prob: how often.
        degree: angle is uniform in [-degree, degree].

    Raises:
        ValueError: for what is no probability or no angle.
    """

    def __init__(self, prob: float = 0.2, degree: float = 15) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'`prob` is {prob}, expected a probability in [0, 1].')
        if degree <= 0:
            raise ValueError(f'`degree` is {degree}, expected a positive angle.')
        self.prob = prob
        self.degree = degree

    @cache_randomness
    def _draw(self) -> float | None:
        # both numbers are drawn always, so that what follows does not depend on the outcome
        rotate, angle = np.random.rand() < self.prob, np.random.uniform(-self.degree, self.degree)
        return angle if rotate else None

    def transform(self, results: dict) -> dict:
        """Rotate ``img`` and all ``seg_fields``, or leave them."""
        angle = self._draw()
        if angle is None:
            return results
        for name in ('img', *results.get('seg_fields', [])):
            soft = name == 'img' or _is_soft(name, results[name])
            how = cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST
            results[name] = _rotate(results[name], angle, how)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, degree={self.degree})'


def _rotate(array: np.ndarray, angle: float, how: int) -> np.ndarray:
    height, width = array.shape[:2]
    # about the middle of the picture; pixels' centres are at whole numbers
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    return cv2.warpAffine(array, matrix, (width, height), flags=how)
