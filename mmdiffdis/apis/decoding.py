"""Decoding of the images that `DISInferencer` takes: paths, Pillow images and arrays."""

import math
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..images.reading import (
    DecodedImage,
    decode_file,
    decode_image,
    is_out_of_memory,
    read_size,
)

ImageSource = str | Path | np.ndarray | Image.Image

# Raised for a single image, and no reason to leave out the others.
IMAGE_ERRORS = (OSError, ValueError, MemoryError, cv2.error)


def decode(image: ImageSource) -> tuple[DecodedImage, str | None]:
    """Returns a decoded image and its path, if it has one.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it cannot be decoded, is a URL, or is an array of another shape or dtype.
        TypeError: If it is neither a path, nor a Pillow image, nor an array.
    """
    if isinstance(image, (str, Path)):
        if '://' in str(image):  # MMEngine would fetch it, of whatever size
            raise ValueError(f"'{image}' is a URL: download it, and pass the path of the file")
        if os.path.islink(image) and not os.path.exists(image):
            raise FileNotFoundError(f"'{image}' is a broken link to '{os.readlink(image)}'")
        return decode_file(str(image)), str(image)
    if isinstance(image, Image.Image):
        if not (image.width and image.height):
            raise ValueError(f'the image has {image.width}x{image.height} pixels')
        return decode_image(image), getattr(image, 'filename', None) or None
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f'image is a {type(image).__name__}: expected a path, a Pillow image or an array'
        )
    is_known_shape = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
    if image.dtype != np.uint8 or not is_known_shape or image.size == 0:
        raise ValueError(
            f'the array is {image.dtype} of shape {image.shape}: expected uint8 [H, W], '
            '[H, W, 3] (RGB) or [H, W, 4] (RGBA)'
        )
    return decode_image(Image.fromarray(image)), None


def count_pixels(image: ImageSource) -> int:
    """Returns the number of pixels without decoding; 0 if that fails, as reading will report it."""
    if isinstance(image, (str, Path)):
        try:
            return math.prod(read_size(image))
        except (OSError, ValueError):
            return 0
    if isinstance(image, Image.Image):
        return image.width * image.height
    return math.prod(image.shape[:2]) if isinstance(image, np.ndarray) else 0


def label(image: ImageSource, index: int) -> str:
    """Returns the name of an image in reports: its path, or its number."""
    return str(image) if isinstance(image, (str, Path)) else f'image {index}'


def reason(error: Exception) -> str:
    """Returns one line that says why an image was skipped."""
    # MemoryError often has no text, and OpenCV's text is about its source code
    if is_out_of_memory(error) and (isinstance(error, cv2.error) or not str(error)):
        return 'out of memory'
    return ' '.join(str(error).split()) or type(error).__name__
