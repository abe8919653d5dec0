"""Colour augmentation."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageEnhance


@TRANSFORMS.register_module()
class DISColorJitter(BaseTransform):
    """Change brightness, contrast, colour and sharpness of ``img``, in this order, at random.

    Each factor is uniform in its range and works as in Pillow's ``ImageEnhance``: 1 leaves the
    image as it is, 0 gives a black, an evenly grey, a colourless and a blurred image. (Ranges:
    DiffDIS' released training.)

    Args:
        brightness: range (lowest, highest) of the factor.
        contrast: likewise.
        color: likewise.
        sharpness: likewise.
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (0.5, 1.5),
        contrast: tuple[float, float] = (0.5, 1.5),
        color: tuple[float, float] = (0.0, 2.0),
        sharpness: tuple[float, float] = (0.0, 3.0),
    ) -> None:
        self.ranges = {
            'brightness': brightness,
            'contrast': contrast,
            'color': color,
            'sharpness': sharpness,
        }
        for name, (low, high) in self.ranges.items():
            if not 0 <= low <= high:
                raise ValueError(f'`{name}` is {(low, high)}, expected 0 <= lowest <= highest.')

    @cache_randomness
    def _draw(self) -> list[float]:
        return [np.random.uniform(low, high) for low, high in self.ranges.values()]

    def transform(self, results: dict) -> dict:
        """Enhance ``results['img']`` (uint8 BGR)."""
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        enhancers = (
            ImageEnhance.Brightness,
            ImageEnhance.Contrast,
            ImageEnhance.Color,
            ImageEnhance.Sharpness,
        )
        for enhancer, factor in zip(enhancers, self._draw(), strict=True):
            image = enhancer(image).enhance(factor)
        results['img'] = np.ascontiguousarray(np.array(image)[..., ::-1])
        return results

    def __repr__(self) -> str:
        ranges = ', '.join(f'{name}={bounds}' for name, bounds in self.ranges.items())
        return f'{type(self).__name__}({ranges})'
