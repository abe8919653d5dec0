"""Geometric transforms that keep soft masks soft, and aligned with the image.

Cropping and flipping need nothing special: mmseg's RandomFlip and RandomCrop work on every name in
``seg_fields``.
"""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.datasets.transforms import Resize
from mmseg.registry import TRANSFORMS
from PIL import Image

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
    """

    def __init__(
        self,
        scale: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
    ) -> None:
        super().__init__(
            scale, scale_factor, keep_ratio, backend='pillow', interpolation='bilinear'
        )

    def _resize_seg(self, results: dict) -> None:
        height, width = results['img_shape']
        for key in results.get('seg_fields', []):
            if results.get(key) is not None:
                how = _BILINEAR if _is_soft(results[key]) else _NEAREST
                field = Image.fromarray(results[key]).resize((width, height), how)
                results[key] = np.array(field)


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
        results['img'] = np.array(Image.fromarray(results['img']).rotate(angle, _BICUBIC))
        for key in results.get('seg_fields', []):
            how = _BILINEAR if _is_soft(results[key]) else _NEAREST
            results[key] = np.array(Image.fromarray(results[key]).rotate(angle, how))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, degree={self.degree})'
