"""Pixels of the synthetic set: crops of photographs, gradients, noise and colours.

The photographs are part of scikit-image's wheel (`skimage.data` names their sources and licences);
nothing is downloaded. Every image is float32 [H, W, 3], BGR, in [0, 1].
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import skimage
from skimage.io import imread

SCENES = (
    'astronaut.png',
    'camera.png',
    'chelsea.png',
    'coffee.png',
    'motorcycle_left.png',
    'rocket.jpg',
)
TEXTURES = (
    'brick.png',
    'coins.png',
    'grass.png',
    'gravel.png',
    'hubble_deep_field.jpg',
    'ihc.png',
    'moon.png',
    'retina.jpg',
)
LONGEST_SIDE = 800


@lru_cache(maxsize=1)
def load_photos() -> dict[str, np.ndarray]:
    """Returns the bundled photographs by file name, uint8 BGR.

    Raises:
        FileNotFoundError: If scikit-image is installed without its photographs.
    """
    folder = Path(skimage.__file__).parent / 'data'
    photos = {}
    for name in SCENES + TEXTURES:
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f'scikit-image {skimage.__version__} in {folder} has no {name}, which its wheels '
                'contain; reinstall it with: pip install --force-reinstall scikit-image'
            )
        # Not cv2.imread: OpenCV's libpng warns about the colour profiles of some of these files.
        photo = imread(folder / name)
        photo = cv2.cvtColor(photo, cv2.COLOR_GRAY2BGR if photo.ndim == 2 else cv2.COLOR_RGB2BGR)
        shrink = LONGEST_SIDE / max(photo.shape)
        if shrink < 1:
            photo = cv2.resize(photo, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        photos[name] = photo
    return photos


def crop(
    rng: np.random.Generator,
    names: tuple[str, ...],
    height: int,
    width: int,
    zoom: tuple[float, float] = (0.3, 1.0),
) -> np.ndarray:
    """Returns a random, perhaps mirrored crop of a photograph, resized to [height, width, 3].

    Args:
        rng: Random generator.
        names: Photographs to choose from.
        height: Height of the result.
        width: Width of the result.
        zoom: Range of the share of the photograph that the crop spans.
    """
    photo = load_photos()[str(rng.choice(names))]
    rows, columns = photo.shape[:2]
    share = rng.uniform(*zoom) * min(rows / height, columns / width)
    size_y, size_x = max(8, int(height * share)), max(8, int(width * share))
    size_y, size_x = min(size_y, rows), min(size_x, columns)
    top, left = rng.integers(0, rows - size_y + 1), rng.integers(0, columns - size_x + 1)
    piece = photo[top : top + size_y, left : left + size_x]
    if rng.random() < 0.5:
        piece = piece[:, ::-1]
    interpolation = cv2.INTER_AREA if share > 1 else cv2.INTER_CUBIC
    piece = cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=interpolation)
    return piece.astype(np.float32) / 255


def recolour(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Returns the image with its channels mixed, or its grey values mapped between two colours."""
    if rng.random() < 0.45:
        grey = image @ np.float32([0.114, 0.587, 0.299])
        dark, light = sorted((colour(rng), colour(rng)), key=lambda c: c.sum())
        return (dark + (light - dark) * grey[..., None]).astype(np.float32)
    mix = np.eye(3) + rng.normal(0, 0.18, (3, 3))
    mix /= mix.sum(axis=0, keepdims=True)
    gain = rng.uniform(0.7, 1.25)
    return np.clip((image @ mix.astype(np.float32)) * np.float32(gain), 0, 1)


def colour(rng: np.random.Generator) -> np.ndarray:
    """Returns a random colour: black, white, grey, brown or any hue; float32 [3], BGR."""
    family = rng.choice(['grey', 'dark', 'light', 'brown', 'any'], p=[0.15, 0.2, 0.15, 0.15, 0.35])
    hue, saturation, value = {
        'grey': (rng.uniform(0, 360), rng.uniform(0, 0.12), rng.uniform(0.2, 0.8)),
        'dark': (rng.uniform(0, 360), rng.uniform(0, 0.4), rng.uniform(0.03, 0.25)),
        'light': (rng.uniform(0, 360), rng.uniform(0, 0.15), rng.uniform(0.8, 1.0)),
        'brown': (rng.uniform(10, 45), rng.uniform(0.3, 0.75), rng.uniform(0.25, 0.8)),
        'any': (rng.uniform(0, 360), rng.uniform(0.35, 0.95), rng.uniform(0.3, 0.95)),
    }[str(family)]
    pixel = np.array([[[hue, saturation, value]]], np.float32)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0]


def fractal(rng: np.random.Generator, height: int, width: int, cells: int = 3) -> np.ndarray:
    """Returns smooth noise in [0, 1], [height, width]: four octaves from `cells` per side."""
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        count = cells * 2**octave
        grid = rng.random((count, count), np.float32) / 1.8**octave
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low + 1e-6)


def ramp(
    rng: np.random.Generator, height: int, width: int, angle: float | None = None
) -> np.ndarray:
    """Returns a linear ramp from 0 to 1 along `angle` (default: random), [height, width]."""
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(np.cos(angle))
    total = x + y
    return (total - total.min()) / np.ptp(total)


def blend(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mixes colours [3] or images: `low` where the weight [H, W] is 0, `high` where it is 1."""
    weight = weight[..., None]
    return (low * (1 - weight) + high * weight).astype(np.float32)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Applies a Gaussian blur; a large one at a quarter of the size, which looks the same."""
    if sigma < 0.3:
        return image
    if sigma < 3:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
