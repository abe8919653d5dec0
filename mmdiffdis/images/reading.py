"""Reading of image files: decoding, orientation and size limits."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import mmengine.fileio as fileio
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .png import decode_plain_png, is_plain_png
from .values import to_rgb

# Pillow's own limit, about a third of this, protects web servers and is below the size of images
# that people do segment. One float32 mask of 500 megapixels takes 2 GB.
MAX_PIXELS = 500_000_000
_PILLOW_LIMIT = threading.Lock()  # Pillow's limit is a global variable
_ORIENTATION = 0x0112  # EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # its values that swap width and height
_TIFF_SIZE = (256, 257)  # TIFF tags of width and height


def read_image(path: str, backend_args: dict | None = None) -> Image.Image:
    """Returns the first frame of an image file, decoded and upright (EXIF orientation applied).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, truncated, no image or larger than `MAX_PIXELS`; the message
            names it.
    """
    content = fileio.get(path, backend_args=backend_args)
    with _name_file_in_errors(path, content):
        image = open_lazily(io.BytesIO(content))
        pixels = decode_plain_png(image, content)
        if pixels is None:
            return _upright(image)
        decoded = Image.fromarray(pixels)
        decoded.format = image.format  # needed by `to_alpha`
        return decoded


def read_bgr(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Returns an image file as uint8 [H, W, 3] BGR: `to_rgb` of `read_image`, channels reversed.

    Undamaged, upright 8-bit colour JPEGs and PNGs, which nearly all images are, are not decoded by
    Pillow: the pixels are the same without its copies.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As in `read_image` and `to_rgb`; the message names the file.
    """
    content = fileio.get(path, backend_args=backend_args)
    with _name_file_in_errors(path, content):
        image = open_lazily(io.BytesIO(content))
        if (pixels := decode_plain_png(image, content)) is not None:
            if pixels.ndim == 2:
                return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
            return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, pixels)  # in place
        if is_decoded_alike(image, content):
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            bgr = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
            if bgr is not None:
                return bgr
        image = _upright(image)
    try:
        return cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2BGR)
    except ValueError as error:
        raise ValueError(f"cannot use the image '{path}': {error}") from error


def read_rgb(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Returns `read_bgr` in RGB order."""
    return cv2.cvtColor(read_bgr(path, backend_args), cv2.COLOR_BGR2RGB)


def read_size(path: str | Path) -> tuple[int, int]:
    """Returns (width, height) of the upright image, from the file's header.

    An orientation that a PNG stores behind its pixels is not seen.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is empty or no image; the message names it.
    """
    with open(path, 'rb') as file, _name_file_in_errors(path, file):
        image = open_lazily(file)
        # Pillow would decode the whole PNG to look for an orientation behind the pixels
        skip_exif = image.format == 'PNG' and not {'exif', 'xmp'} & image.info.keys()
        sideways = not skip_exif and image.getexif().get(_ORIENTATION) in _SIDEWAYS
        size = image.size
        if image.format == 'TIFF':  # whose `size` is upright in some versions of Pillow
            size = tuple(image.tag_v2[tag] for tag in _TIFF_SIZE)
        return size[::-1] if sideways else size


def open_lazily(file: BinaryIO) -> Image.Image:
    """Opens an image without decoding it; the limit is `MAX_PIXELS` instead of Pillow's.

    Raises:
        ValueError: If the image is larger.
    """
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f'its {image.width}x{image.height} pixels are more than {MAX_PIXELS // 10**6} million; '
            'scale it down'
        )
    return image


def is_decoded_alike(image: Image.Image, content: bytes) -> bool:
    """Returns whether OpenCV decodes a file as Pillow does: undamaged, upright, opaque, 8 bits.

    The end of the file is checked because OpenCV fills truncated images without an error.
    """
    if image.mode != 'RGB':
        return False
    if image.format == 'JPEG':
        return content.endswith(b'\xff\xd9') and image.getexif().get(_ORIENTATION, 1) == 1
    return is_plain_png(image, content)


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that Python or OpenCV is out of memory."""
    is_of_opencv = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    return is_of_opencv or isinstance(error, MemoryError)


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    upright.format = image.format  # lost in the transposition, needed by `to_alpha`
    return upright


@contextmanager
def _name_file_in_errors(path: str | Path, content: bytes | BinaryIO) -> Iterator[None]:
    """Turns every exception of the block into a `ValueError` that names the file."""
    try:
        yield
    # Pillow's decoders raise nearly anything on damaged data: OSError, SyntaxError, struct.error
    except Exception as error:
        if is_out_of_memory(error):  # the file is not to blame
            raise ValueError(f"cannot read '{path}': out of memory") from error
        is_bytes = isinstance(content, bytes)
        if not (len(content) if is_bytes else os.fstat(content.fileno()).st_size):
            reason = 'the file is empty'
        elif isinstance(error, UnidentifiedImageError):
            reason = 'no format that Pillow knows'
        else:
            reason = f'{type(error).__name__}: {error}'
        raise ValueError(
            f"cannot read '{path}' as an image ({reason}); replace the file or remove it from the "
            'folder'
        ) from error
