"""Reading image files: decoding, orientation and size limits."""

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

# Larger pictures are refused; Pillow's own limit, about a third of this, is a guard for web servers
# and stops at drawings that people do segment. 500 megapixels are 2 GB as one float32 mask.
MAX_PIXELS = 500_000_000

# Pillow's limit is a global variable.
_PILLOW_LIMIT = threading.Lock()

_ORIENTATION = 0x0112

_SIDEWAYS = (5, 6, 7, 8)

_TIFF_SIZE = (256, 257)


def read_image(path: str, backend_args: dict | None = None) -> Image.Image:
    """First frame of an image file, decoded and upright (EXIF orientation applied).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, truncated, no image or of more than ``MAX_PIXELS``; the message
            names it.
    """
    content = fileio.get(path, backend_args=backend_args)
    with _named(path, content):
        image = open_lazily(io.BytesIO(content))
        pixels = decode_plain_png(image, content)
        if pixels is None:
            return _upright(image)
        decoded = Image.fromarray(pixels)
        decoded.format = image.format  # masks need it
        return decoded


def read_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's header wherever that tells.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is empty or no image; the message names it.
    """
    with open(path, 'rb') as file, _named(path, file):
        image = open_lazily(file)
        # PNG may keep its orientation behind the pixels: reading it decodes the whole picture
        late = image.format == 'PNG' and not {'exif', 'xmp'} & image.info.keys()
        sideways = not late and image.getexif().get(_ORIENTATION) in _SIDEWAYS
        size = image.size
        if image.format == 'TIFF':  # whose `size` is upright in some versions of Pillow
            size = tuple(image.tag_v2[tag] for tag in _TIFF_SIZE)
        return size[::-1] if sideways else size


def open_lazily(file: BinaryIO) -> Image.Image:
    """``Image.open`` with ``MAX_PIXELS`` in place of Pillow's limit."""
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


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    upright = ImageOps.exif_transpose(image)
    upright.format = image.format  # lost in the transposition; masks need it
    return upright


@contextmanager
def _named(path: str | Path, content: bytes | BinaryIO) -> Iterator[None]:
    """Whatever is raised inside becomes a ``ValueError`` that names the file."""
    try:
        yield
    # Pillow's decoders raise nearly anything on damaged data: OSError, SyntaxError, struct.error
    except Exception as error:
        if is_out_of_memory(error):  # the file is sound
            raise ValueError(f"cannot read '{path}': the memory does not suffice") from error
        is_bytes = isinstance(content, bytes)
        if not (len(content) if is_bytes else os.fstat(content.fileno()).st_size):
            reason = 'the file is empty'
        elif isinstance(error, UnidentifiedImageError):
            reason = 'no format that Pillow knows'
        else:
            reason = f'{type(error).__name__}: {error}'
        raise ValueError(
            f"cannot read '{path}' as an image ({reason}). Replace the file or take it out of the "
            'folder.'
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out in Python or in OpenCV."""
    out_in_opencv = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    return out_in_opencv or isinstance(error, MemoryError)


def read_bgr(path: str, backend_args: dict | None = None) -> np.ndarray:
    """uint8 [H, W, 3] in BGR order: ``to_rgb`` of ``read_image``, with the channels reversed.

    Whole, upright 8-bit colour JPEGs and PNGs, which is nearly all of them, are not decoded by
    Pillow: the same pixels without its copies.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as ``read_image`` and ``to_rgb``; it names the file.
    """
    content = fileio.get(path, backend_args=backend_args)
    with _named(path, content):
        image = open_lazily(io.BytesIO(content))
        if (pixels := decode_plain_png(image, content)) is not None:
            if pixels.ndim == 2:
                return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
            return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, pixels)  # in place
        if _is_plain(image, content):
            how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            bgr = cv2.imdecode(np.frombuffer(content, np.uint8), how)
            if bgr is not None:
                return bgr
        image = _upright(image)
    try:
        return cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2BGR)
    except ValueError as error:
        raise ValueError(f"cannot use the image '{path}': {error}") from error


def read_rgb(path: str, backend_args: dict | None = None) -> np.ndarray:
    """``read_bgr`` in RGB order."""
    return cv2.cvtColor(read_bgr(path, backend_args), cv2.COLOR_BGR2RGB)


def _is_plain(image: Image.Image, content: bytes) -> bool:
    """Whether OpenCV is sure to decode the file as Pillow does: whole, upright, opaque, 8 bits.

    OpenCV fills up what is missing of a truncated file without a word, so that its end must be
    where it belongs.
    """
    if image.mode != 'RGB':
        return False
    if image.format == 'JPEG':
        return content.endswith(b'\xff\xd9') and image.getexif().get(_ORIENTATION, 1) == 1
    return is_plain_png(image, content)
