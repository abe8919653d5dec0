"""Image files of special kinds, for tests of reading and pairing."""

from pathlib import Path

import numpy as np
from PIL import Image

# uint8 RGB [4, 6, 3] without two equal pixels
COLOURS = np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3
# uint8 [4, 6] with 0, 255 and levels between
SOFT_MASK = np.linspace(0, 255, 24).round().astype(np.uint8).reshape(4, 6)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    """uint8 [H, W, C], or [H, W] of one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def save(image: np.ndarray | Image.Image, path: Path, **options) -> str:
    """Writes an image and returns its path."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return str(path)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def move_exif_behind_pixels(path: Path) -> None:
    """Rewrites a PNG as some tools do: Pillow reads the orientation only after decoding."""
    content = path.read_bytes()
    start = content.index(b'eXIf') - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], 'big')
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
