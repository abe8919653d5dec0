"""Colour augmentation."""

from collections.abc import Iterator

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

_LUMA = (0.114, 0.587, 0.299)  # ITU-R 601, BGR
# Added before OpenCV rounds, because Pillow truncates after each of the four steps. Not -0.5, which
# would change whole numbers.
_FLOOR = -0.499
_STRIP_PIXELS = 2**16


@TRANSFORMS.register_module()
class DISColorJitter(BaseTransform):
    """Changes brightness, contrast, colour and sharpness of `img` at random, in this order.

    The factors are uniform in their ranges and act as in Pillow's `ImageEnhance`: 1 keeps the
    image, 0 gives a black, a uniformly grey, a colourless and a blurred image. OpenCV computes them
    faster; results differ from Pillow's by a level or two. The default ranges are those of DiffDIS'
    released training.

    Args:
        brightness: Range (lowest, highest) of the factor.
        contrast: The same.
        color: The same.
        sharpness: The same.

    Raises:
        ValueError: If a range is reversed or negative.
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
                raise ValueError(f'{name}={(low, high)}: expected 0 <= lowest <= highest')

    @cache_randomness
    def _draw(self) -> list[float]:
        return [np.random.uniform(low, high) for low, high in self.ranges.values()]

    def transform(self, results: dict) -> dict:
        """Changes `results['img']` (uint8 BGR)."""
        brightness, contrast, color, sharpness = self._draw()
        image = results['img']
        total = 0.0
        for rows, _ in _strips(image):
            strip = _brighten(image[rows], brightness)
            total += cv2.sumElems(cv2.cvtColor(strip, cv2.COLOR_BGR2GRAY))[0]
        # Pillow's contrast preserves the rounded mean of the grey image
        pivot = (1 - contrast) * round(total / (image.size // 3)) + _FLOOR
        matrix = color * np.eye(3) + (1 - color) * np.tile(_LUMA, (3, 1))
        matrix = np.column_stack([matrix, [_FLOOR] * 3])
        # Pillow's kernel 1/13 (1 1 1, 1 5 1, 1 1 1) is 9/13 of the mean of 3x3 pixels plus 4/13 of
        # the pixel
        pixel_weight = sharpness + (1 - sharpness) * 4 / 13
        mean_weight = (1 - sharpness) * 9 / 13
        enhanced = np.empty(image.shape, np.uint8)
        for rows, padded_rows in _strips(image):
            strip = _brighten(image[padded_rows], brightness)
            strip = cv2.addWeighted(strip, contrast, strip, 0, pivot)
            strip = cv2.transform(strip, matrix)
            inner = slice(rows.start - padded_rows.start, rows.stop - padded_rows.start)
            mean = cv2.blur(strip, (3, 3))[inner]
            cv2.addWeighted(strip[inner], pixel_weight, mean, mean_weight, _FLOOR, enhanced[rows])
        results['img'] = enhanced
        return results

    def __repr__(self) -> str:
        ranges = ', '.join(f'{name}={bounds}' for name, bounds in self.ranges.items())
        return f'{type(self).__name__}({ranges})'


def _brighten(image: np.ndarray, factor: float) -> np.ndarray:
    # OpenCV is slower on a view than a copy takes
    return cv2.convertScaleAbs(np.ascontiguousarray(image), alpha=factor, beta=_FLOOR)


def _strips(image: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Yields strips of an image's rows, and the same with one more row above and below.

    The result of one step on a strip stays in the core's cache for the next step, unlike that of a
    whole photograph.
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
