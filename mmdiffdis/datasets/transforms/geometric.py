"""Geometric transforms that keep masks soft and aligned with the image.

For flipping and cropping, mmseg's RandomFlip and RandomCrop work on everything in `seg_fields`.
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


@TRANSFORMS.register_module()
class DISResize(Resize):
    """mmseg's Resize with Pillow's anti-aliased bilinear filter.

    Image and soft fields are resized alike, label maps by nearest neighbour.

    Args:
        scale: (width, height), or one number for both.
        scale_factor: Factor(s) instead of `scale`.
        keep_ratio: Whether `scale` is a bound instead of the exact size.
        backend: 'pillow'; 'torch', the same filter several times as fast, rounded differently (up
            to one grey level); or 'cv2', OpenCV's bilinear without anti-aliasing.

    Raises:
        ValueError: If there is no such backend.
    """

    def __init__(
        self,
        scale: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
        backend: Literal['pillow', 'torch', 'cv2'] = 'pillow',
    ) -> None:
        if backend not in ('pillow', 'torch', 'cv2'):
            raise ValueError(f"backend={backend!r}: expected 'pillow', 'torch' or 'cv2'")
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
            results.update(_resize_fields_with_torch(soft, size))
            fields = {name: field for name, field in fields.items() if name not in soft}
        for name, field in fields.items():
            if name not in soft:  # the pixels that Pillow's nearest neighbour takes
                results[name] = cv2.resize(field, size, interpolation=cv2.INTER_NEAREST_EXACT)
            elif self.backend == 'cv2':
                results[name] = cv2.resize(field, size, interpolation=cv2.INTER_LINEAR)
            else:
                field = Image.fromarray(field).resize(size, Image.Resampling.BILINEAR)
                results[name] = np.array(field)


@TRANSFORMS.register_module()
class DISShrink(DISResize):
    """Resizes to multiples of a number of pixels, and shrinks what is larger than a bound.

    Source: `dynamic_resize` of InSPyReNet's release.

    Args:
        shorter_side: Bound of the shorter side, in pixels.
        divisor: Both sides become the nearest multiple, at least one, of this number of pixels.
        backend: As in `DISResize`.

    Raises:
        ValueError: If there is no such backend, or `shorter_side` is below `divisor`.
    """

    def __init__(
        self,
        shorter_side: int = 1280,
        divisor: int = 32,
        backend: Literal['pillow', 'torch', 'cv2'] = 'pillow',
    ) -> None:
        if not 1 <= divisor <= shorter_side:
            raise ValueError(
                f'shorter_side={shorter_side}, divisor={divisor}: expected 1 <= divisor <= '
                'shorter_side'
            )
        super().__init__(scale=shorter_side, backend=backend)
        self.shorter_side = shorter_side
        self.divisor = divisor

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        factor = min(1, self.shorter_side / min(height, width)) / self.divisor
        results['scale'] = tuple(
            max(1, round(side * factor)) * self.divisor for side in (width, height)
        )
        super()._resize_img(results)

    def __repr__(self) -> str:
        bounds = f'shorter_side={self.shorter_side}, divisor={self.divisor}'
        return f'{type(self).__name__}({bounds}, backend={self.backend!r})'


def _is_soft(name: str, field: np.ndarray) -> bool:
    return name in SOFT_FIELDS or np.issubdtype(field.dtype, np.floating)


def _resize_fields_with_torch(
    fields: dict[str, np.ndarray], size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Resizes fields [H, W] to the size (width, height).

    8-bit fields become the channels of one RGB image, for which torch is fastest.
    """
    floats = {name: field for name, field in fields.items() if field.dtype != np.uint8}
    resized = {name: _resize_with_torch(field, size) for name, field in floats.items()}
    names = [name for name in fields if name not in floats]
    if names:  # one or two
        image = cv2.merge([fields[name] for name in (names * 3)[:3]])
        resized |= zip(names, np.moveaxis(_resize_with_torch(image, size), 2, 0), strict=False)
    return resized


def _resize_with_torch(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image [H, W, 3] or a field [H, W] to the size (width, height)."""
    if min(array.strides) < 0:  # a mirrored view, which torch refuses
        array = np.ascontiguousarray(array)
    # with a batch dimension, torch recognises the channels-last layout and keeps it
    batch = torch.from_numpy(np.atleast_3d(array)[None]).permute(0, 3, 1, 2)
    batch = interpolate(batch, size[::-1], mode='bilinear', antialias=True)
    return batch.permute(0, 2, 3, 1).contiguous().numpy().reshape(*size[::-1], *array.shape[2:])


@TRANSFORMS.register_module()
class DISRandomCenterCrop(BaseTransform):
    """Crops a random 1 to `max_border` pixels of the width and of the height, half at each side.

    DiffDIS' released training crops up to 30 pixels, like many salient object detectors.

    Args:
        max_border: Largest sum of the two borders in each direction, in pixels.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, max_border: int = 30) -> None:
        if max_border < 1:
            raise ValueError(f'max_border={max_border}: expected at least 1 pixel')
        self.max_border = max_border

    @cache_randomness
    def _draw_border(self, length: int) -> int:
        # at least one pixel must remain of a very small image
        return np.random.randint(1, self.max_border + 1) if length > self.max_border else 0

    def transform(self, results: dict) -> dict:
        """Crops `img` and all `seg_fields`; updates `img_shape`."""
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
class DISRandomCrop(BaseTransform):
    """Crops a random box of the image, of random area and shape, that keeps the foreground.

    The result has any size: `DISResize` comes after it. mmseg's RandomCrop has a fixed size in
    pixels, which small images do not have.

    Args:
        area: Range of the box's share of the image.
        aspect: Range of the box's width over its height, relative to the image's (log-uniform).
        prob: Probability of a crop.
        min_foreground: Share of the foreground that the box keeps; if 10 boxes keep less, the
            image stays whole.

    Raises:
        ValueError: If a range is reversed or out of bounds.
    """

    num_attempts = 10

    def __init__(
        self,
        area: tuple[float, float] = (0.4, 1.0),
        aspect: tuple[float, float] = (0.75, 1.33),
        prob: float = 1.0,
        min_foreground: float = 0.6,
    ) -> None:
        if not 0 < area[0] <= area[1] <= 1:
            raise ValueError(f'area={area}: expected 0 < lowest <= highest <= 1')
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f'aspect={aspect}: expected 0 < lowest <= highest')
        for name, share in (('prob', prob), ('min_foreground', min_foreground)):
            if not 0 <= share <= 1:
                raise ValueError(f'{name}={share}: expected a number in [0, 1]')
        self.area, self.aspect = area, aspect
        self.prob, self.min_foreground = prob, min_foreground

    @cache_randomness
    def _draw(self) -> np.ndarray | None:
        # all numbers are always drawn, so that later draws do not depend on the outcome
        crop, numbers = np.random.rand() < self.prob, np.random.rand(self.num_attempts, 4)
        return numbers if crop else None

    def transform(self, results: dict) -> dict:
        """Crops `img` and all `seg_fields`; updates `img_shape`."""
        numbers = self._draw()
        if numbers is None:
            return results
        height, width = results['img'].shape[:2]
        mask = results.get('gt_alpha')
        foreground = 0 if mask is None else cv2.sumElems(mask)[0]
        for box in numbers:
            rows, columns = self._box(height, width, *box)
            if foreground and (
                cv2.sumElems(mask[rows, columns])[0] < self.min_foreground * foreground
            ):
                continue
            for key in ('img', *results.get('seg_fields', [])):
                results[key] = np.ascontiguousarray(results[key][rows, columns])
            results['img_shape'] = results['img'].shape[:2]
            break
        return results

    def _box(
        self, height: int, width: int, area: float, aspect: float, top: float, left: float
    ) -> tuple[slice, slice]:
        """Returns rows and columns of the box that four uniform numbers in [0, 1) describe."""
        share = self.area[0] + area * (self.area[1] - self.area[0])
        low, high = np.log(self.aspect)
        stretch = np.exp((low + aspect * (high - low)) / 2)
        rows = min(height, max(1, round(height * share**0.5 / stretch)))
        columns = min(width, max(1, round(width * share**0.5 * stretch)))
        top, left = int(top * (height - rows + 1)), int(left * (width - columns + 1))
        return slice(top, top + rows), slice(left, left + columns)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(area={self.area}, aspect={self.aspect}, prob={self.prob}, '
            f'min_foreground={self.min_foreground})'
        )


@TRANSFORMS.register_module()
class DISRandomRotate(BaseTransform):
    """Rotates about the centre, with unchanged size and black corners.

    Image and soft fields are resampled bilinearly. mmseg's RandomRotate resamples every annotation
    by nearest neighbour and fills all corners with one value, which breaks soft masks. DiffDIS'
    released training is bicubic, which takes six times as long and overshoots a mask's range; the
    difference nearly vanishes in images that are halved or more afterwards.

    Args:
        prob: Probability of a rotation.
        degree: Bound of the angle, which is uniform in [-degree, degree].

    Raises:
        ValueError: If `prob` is not in [0, 1] or `degree` is not positive.
    """

    def __init__(self, prob: float = 0.2, degree: float = 15) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob}: expected a probability in [0, 1]')
        if degree <= 0:
            raise ValueError(f'degree={degree}: expected a positive angle')
        self.prob = prob
        self.degree = degree

    @cache_randomness
    def _draw(self) -> float | None:
        # both numbers are always drawn, so that later draws do not depend on the outcome
        rotate, angle = np.random.rand() < self.prob, np.random.uniform(-self.degree, self.degree)
        return angle if rotate else None

    def transform(self, results: dict) -> dict:
        """Rotates `img` and all `seg_fields`, or returns them unchanged."""
        angle = self._draw()
        return results if angle is None else _turn_and_zoom(results, angle, 1)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, degree={self.degree})'


@TRANSFORMS.register_module()
class DISRandomZoom(BaseTransform):
    """Enlarges or shrinks about the centre, with unchanged size and black borders.

    Image and soft fields are resampled bilinearly. (Released training of InSPyReNet: bicubic, and
    the ground truth by nearest neighbour.)

    Args:
        prob: Probability of a zoom.
        scales: Range (lowest, highest) of the factor, which is uniform in it.

    Raises:
        ValueError: If `prob` is not in [0, 1], or the range is reversed or not positive.
    """

    def __init__(self, prob: float = 0.5, scales: tuple[float, float] = (0.75, 1.25)) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob={prob}: expected a probability in [0, 1]')
        if not 0 < scales[0] <= scales[1]:
            raise ValueError(f'scales={scales}: expected 0 < lowest <= highest')
        self.prob = prob
        self.scales = scales

    @cache_randomness
    def _draw(self) -> float | None:
        # both numbers are always drawn, so that later draws do not depend on the outcome
        zoom, scale = np.random.rand() < self.prob, np.random.uniform(*self.scales)
        return scale if zoom else None

    def transform(self, results: dict) -> dict:
        """Zooms `img` and all `seg_fields`, or returns them unchanged."""
        scale = self._draw()
        return results if scale is None else _turn_and_zoom(results, 0, scale)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, scales={self.scales})'


def _turn_and_zoom(results: dict, angle: float, scale: float) -> dict:
    for name in ('img', *results.get('seg_fields', [])):
        array = results[name]
        soft = name == 'img' or _is_soft(name, array)
        height, width = array.shape[:2]
        # the centre of the image; pixels' centres have integer coordinates
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
        interpolation = cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST
        results[name] = cv2.warpAffine(array, matrix, (width, height), flags=interpolation)
    return results
