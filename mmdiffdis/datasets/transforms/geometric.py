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

_NEAREST = Image.Resampling.NEAREST
_BILINEAR = Image.Resampling.BILINEAR
_BICUBIC = Image.Resampling.BICUBIC


def _is_soft(field: np.ndarray) -> bool:
    return np.issubdtype(field.dtype, np.floating)


@TRANSFORMS.register_module()
class DISResize(Resize):
    """mmseg's Resize with Pillow's anti-aliased bilinear filter.

    Image and soft fields are treated alike. Label maps are resized by nearest neighbour.

    Args:
        scale: (width, height), or one number for both.
        scale_factor: factor(s) instead of ``scale``.
        keep_ratio: whether ``scale`` is a bound instead of the exact size.
        backend: ``'pillow'``, or ``'torch'``: the same filter, several times as fast, with other
            roundings (up to one grey level of an image).

    Raises:
        ValueError: if there is no such backend.
    """

    def __init__(
        self,
        scale: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
        backend: Literal['pillow', 'torch'] = 'pillow',
    ) -> None:
        super().__init__(
            scale,
            scale_factor,
            keep_ratio,
            backend=_known_backend(backend, ('pillow', 'torch')),
            interpolation='bilinear',
        )

    def _resize_img(self, results: dict) -> None:
        if self.backend == 'pillow':
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
        height, width = results['img_shape']
        for key in results.get('seg_fields', []):
            field = results.get(key)
            if field is None:
                continue
            if self.backend == 'torch' and _is_soft(field):
                results[key] = _resize_with_torch(field, (width, height))
            else:
                how = _BILINEAR if _is_soft(field) else _NEAREST
                results[key] = np.array(Image.fromarray(field).resize((width, height), how))


def _resize_with_torch(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image [H, W, 3] or a field [H, W] at the size (width, height)."""
    if min(array.strides) < 0:  # a mirrored view, which torch does not take
        array = np.ascontiguousarray(array)
    image = torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1)
    image = interpolate(image[None], size[::-1], mode='bilinear', antialias=True)[0]
    image = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return image if array.ndim == 3 else image[..., 0]


def _known_backend(backend: str, known: tuple[str, ...]) -> str:
    if backend not in known:
        raise ValueError(f"`backend` is '{backend}', expected one of {list(known)}.")
    return backend


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
    """Rotate about the centre, size unchanged, black corners: image bicubic, soft fields bilinear.

    mmseg's RandomRotate resamples every annotation by nearest neighbour and fills corners with one
    value for all, which breaks soft masks.

    Args:
        prob: how often.
        degree: angle is uniform in [-degree, degree].
        backend: ``'pillow'``, or ``'cv2'``: several times as fast, images bilinear too. Where they
            are halved or more afterwards, hardly a difference remains.

    Raises:
        ValueError: for what is no probability, no angle or no backend.
    """

    def __init__(
        self,
        prob: float = 0.2,
        degree: float = 15,
        backend: Literal['pillow', 'cv2'] = 'pillow',
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'`prob` is {prob}, expected a probability in [0, 1].')
        if degree <= 0:
            raise ValueError(f'`degree` is {degree}, expected a positive angle.')
        self.prob = prob
        self.degree = degree
        self.backend = _known_backend(backend, ('pillow', 'cv2'))

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
        rotate = _rotate_with_cv2 if self.backend == 'cv2' else _rotate_with_pillow
        results['img'] = rotate(results['img'], angle, _BICUBIC)
        for key in results.get('seg_fields', []):
            how = _BILINEAR if _is_soft(results[key]) else _NEAREST
            results[key] = rotate(results[key], angle, how)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, degree={self.degree}, '
            f"backend='{self.backend}')"
        )


def _rotate_with_pillow(array: np.ndarray, angle: float, how: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(array).rotate(angle, how))


def _rotate_with_cv2(array: np.ndarray, angle: float, how: Image.Resampling) -> np.ndarray:
    flags = cv2.INTER_NEAREST if how == _NEAREST else cv2.INTER_LINEAR
    height, width = array.shape[:2]
    # Pillow counts from a pixel's corner, OpenCV from its centre
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    return cv2.warpAffine(array, matrix, (width, height), flags=flags)
