"""Colour augmentation."""

from collections.abc import Iterator

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

# ITU-R 601, BGR
_LUMA = (0.114, 0.587, 0.299)
# Added before OpenCV rounds: Pillow cuts off fractions, four times one after another. (Not 0.5,
# for whole numbers must stay what they are.)
_FLOOR = -0.499
_STRIP_PIXELS = 2**16


@TRANSFORMS.register_module()
class DISColorJitter(BaseTransform):
    """Change brightness, contrast, colour and sharpness of ``img``, in this order, at random.

    Each factor is uniform in its range and works as in Pillow's ``ImageEnhance``: 1 leaves the
    image as it is, 0 gives a black, an evenly grey, a colourless and a blurred image. OpenCV does
    the work; results differ from Pillow's by a level or two. (Ranges: DiffDIS' released training.)

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
        brightness, contrast, color, sharpness = self._draw()
        image = results['img']
        total = 0.0
        for rows, _ in _strips(image):
            strip = _brighten(image[rows], brightness)
            total += cv2.sumElems(cv2.cvtColor(strip, cv2.COLOR_BGR2GRAY))[0]
        # Pillow's contrast pivots on the rounded mean of the grey image
        pivot = (1 - contrast) * round(total / (image.size // 3)) + _FLOOR
        matrix = color * np.eye(3) + (1 - color) * np.tile(_LUMA, (3, 1))
        matrix = np.column_stack([matrix, [_FLOOR] * 3])
        # Pillow's smooth image is 1/13 of (1 1 1, 1 5 1, 1 1 1): 9/13 of the mean of 3x3 pixels
        # and 4/13 of the pixel
        own, mean_of_9 = sharpness + (1 - sharpness) * 4 / 13, (1 - sharpness) * 9 / 13
        enhanced = np.empty(image.shape, np.uint8)
        for rows, wider in _strips(image):
            strip = _brighten(image[wider], brightness)
            strip = cv2.addWeighted(strip, contrast, strip, 0, pivot)
            strip = cv2.transform(strip, matrix)
            inner = slice(rows.start - wider.start, rows.stop - wider.start)
            blurred = cv2.blur(strip, (3, 3))[inner]
            cv2.addWeighted(strip[inner], own, blurred, mean_of_9, _FLOOR, enhanced[rows])
        results['img'] = enhanced
        return results

    def __repr__(self) -> str:
        ranges = ', '.join(f'{name}={bounds}' for name, bounds in self.ranges.items())
        return f'{type(self).__name__}({ranges})'


def _brighten(image: np.ndarray, factor: float) -> np.ndarray:
    # OpenCV takes longer on views than to copy
    return cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=factor, beta=_FLOOR)


def _strips(image: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Rows of an image part by part, and the same with a neighbour above and below.

    A part of each step's result is at hand in a core's cache for the next one; the whole of a
    photograph would be put into memory and fetched again.
    """
    height, width = image.shape[:2]
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        yield slice(top, bottom), slice(max(top - 1, 0), min(bottom + 1, height))


@TRANSFORMS.register_module()
class RandomPepper(BaseTransform):
    """Sets random pixels of `img` to black or white.

    Args:
        share: Share of the pixels, which are sampled with replacement. (Released training of
            BiRefNet: 0.0015.)

    Raises:
        ValueError: If `share` is not in [0, 1].
    """

    def __init__(self, share: float = 0.0015) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f'share={share}: expected a share of the pixels in [0, 1]')
        self.share = share

    @cache_randomness
    def _draw(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        number = int(self.share * height * width)
        rows, columns = (np.random.randint(side, size=number) for side in (height, width))
        return rows, columns, np.random.choice(np.uint8([0, 255]), size=(number, 1))

    def transform(self, results: dict) -> dict:
        """Sets pixels of `results['img']` (uint8 [H, W, 3])."""
        image = results['img'].copy()
        rows, columns, values = self._draw(*image.shape[:2])
        image[rows, columns] = values
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(share={self.share})'
