"""From what stands for a picture to its pixels."""

import math
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..images.reading import is_out_of_memory, read_bgr, read_size
from ..images.values import to_rgb

Picture = str | Path | np.ndarray | Image.Image
# What is wrong with one picture, and no reason to leave out the others.
PICTURE_ERRORS = (OSError, ValueError, MemoryError, cv2.error)


def decode(picture: Picture) -> tuple[np.ndarray, str | None]:
    """A picture as uint8 BGR [H, W, 3], upright, and its path, if it has one.

    Raises:
        OSError, ValueError: if it cannot be read, or is not of a kind that is taken.
        TypeError: if it is something else.
    """
    if isinstance(picture, (str, Path)):
        if os.path.islink(picture) and not os.path.exists(picture):
            raise FileNotFoundError(
                f"'{picture}' is a link to '{os.readlink(picture)}', which is not there."
            )
        return read_bgr(str(picture)), str(picture)
    if isinstance(picture, Image.Image):
        if not (picture.width and picture.height):
            raise ValueError(f'the image has {picture.width}x{picture.height} pixels.')
        rgb = to_rgb(ImageOps.exif_transpose(picture))
        path = getattr(picture, 'filename', None) or None
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), path
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f'`picture` is a {type(picture).__name__}, expected a path, a Pillow image or an array.'
        )
    is_known_shape = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if picture.dtype != np.uint8 or not is_known_shape or picture.size == 0:
        raise ValueError(
            f'the array is {picture.dtype} of shape {picture.shape}, expected uint8 [H, W], '
            '[H, W, 3] (RGB) or [H, W, 4] (RGBA).'
        )
    return cv2.cvtColor(to_rgb(Image.fromarray(picture)), cv2.COLOR_RGB2BGR), None


def count_pixels(picture: Picture) -> int:
    """Without decoding it; 0 where that fails, for reading the picture will tell why."""
    if isinstance(picture, (str, Path)):
        try:
            return math.prod(read_size(picture))
        except (OSError, ValueError):
            return 0
    if isinstance(picture, Image.Image):
        return picture.width * picture.height
    return math.prod(picture.shape[:2]) if isinstance(picture, np.ndarray) else 0


def name_of(picture: Picture, index: int) -> str:
    """What a report calls a picture: its path, or which of many it is."""
    return str(picture) if isinstance(picture, (str, Path)) else f'picture {index}'


def reason(error: Exception) -> str:
    """One line that says why a picture was skipped; errors of Python and OpenCV may not."""
    if is_out_of_memory(error) and (isinstance(error, cv2.error) or not str(error)):
        return 'the memory does not suffice'
    return ' '.join(str(error).split()) or type(error).__name__
