"""Reading of image files: decoding, orientation and size limits."""

import importlib.util
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import mmengine.fileio as fileio
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .png import decode_plain_png, is_plain_png
from .values import opacity, to_rgb

# Pillow's own limit, about a third of this, protects web servers and is below the size of images
# that people do segment. One float32 mask of 500 megapixels takes 2 GB.
MAX_PIXELS = 500_000_000
_PILLOW_LIMIT = threading.Lock()  # Pillow's limit is a global variable
_ORIENTATION = 0x0112  # EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # its values that swap width and height
_TIFF_SIZE = (256, 257)  # TIFF tags of width and height
_LARGEST_DPI = 1e5  # larger ones, 0, 1 and NaN mean that there is none
HEIF_SUFFIXES = ('.heic', '.heif', '.hif')
READS_HEIF = importlib.util.find_spec('pillow_heif') is not None
# What lies behind the first 4 bytes of a file -> how Pillow learns to read it.
_PLUGINS = {
    b'ftypavi': "AVIF: pip install 'pillow>=11.3'",
    **dict.fromkeys(
        (b'ftyphei', b'ftyphev', b'ftypmif', b'ftypmsf'),
        'HEIC, as phones write it: pip install pillow-heif',
    ),
}


class ImageError(ValueError):
    """An image or mask whose file is damaged or cannot be used; the message names it."""


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image with what its pixels do not hold.

    Attributes:
        bgr: uint8 [H, W, 3], upright; transparent pixels lie over white.
        opacity: uint8 [H, W], or None if all pixels are opaque.
        metadata: Options of Pillow's `save` for images of the same colours: `icc_profile` and
            `dpi`, where present.
        has_more_frames: Whether frames or pages follow, which are not decoded.
    """

    bgr: np.ndarray
    opacity: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)
    has_more_frames: bool = False


def read_image(path: str, backend_args: dict | None = None) -> Image.Image:
    """Returns the first frame of an image file, decoded and upright (EXIF orientation applied).

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is empty, truncated, no image or larger than `MAX_PIXELS`; the message
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


def decode_file(path: str, backend_args: dict | None = None) -> DecodedImage:
    """Decodes the first frame of an image file; its pixels are those of `to_rgb` of `read_image`.

    Undamaged, upright 8-bit colour JPEGs and PNGs, which nearly all images are, are not decoded by
    Pillow: the pixels are the same without its copies.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: As in `read_image` and `to_rgb`; the message names the file.
    """
    content = fileio.get(path, backend_args=backend_args)
    with _name_file_in_errors(path, content):
        image = open_lazily(io.BytesIO(content))
        bgr = _decode_opaque(image, content)
        if bgr is None:
            upright = _upright(image)
    if bgr is not None:
        return DecodedImage(bgr, None, _metadata(image), _has_more_frames(image))
    try:
        return _decoded(image, upright)
    except ValueError as error:
        raise ImageError(f"cannot use the image '{path}': {error}") from error


def decode_image(image: Image.Image) -> DecodedImage:
    """Decodes a Pillow image; its EXIF orientation is applied.

    Raises:
        OSError: If its file is damaged.
        ValueError: As in `to_rgb`.
    """
    return _decoded(image, _upright(image))


def read_bgr(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Returns the pixels of `decode_file`, uint8 [H, W, 3] BGR."""
    return decode_file(path, backend_args).bgr


def read_rgb(path: str, backend_args: dict | None = None) -> np.ndarray:
    """Returns `read_bgr` in RGB order."""
    return cv2.cvtColor(read_bgr(path, backend_args), cv2.COLOR_BGR2RGB)


def read_size(path: str | Path) -> tuple[int, int]:
    """Returns (width, height) of the upright image, from the file's header.

    An orientation that a PNG stores behind its pixels is not seen.

    Raises:
        OSError: If the file cannot be opened.
        ImageError: If it is empty or no image; the message names it.
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


def _decoded(image: Image.Image, upright: Image.Image) -> DecodedImage:
    bgr = cv2.cvtColor(to_rgb(upright), cv2.COLOR_RGB2BGR)
    return DecodedImage(bgr, opacity(upright), _metadata(image), _has_more_frames(image))


def _metadata(image: Image.Image) -> dict:
    """Returns the options of Pillow's `save` that keep an image's colours and print size.

    A colour profile of grey or CMYK pixels does not describe the RGB pixels that they become.
    """
    options = {}
    profile = image.info.get('icc_profile') or b''
    if profile[16:20] == b'RGB ':
        options['icc_profile'] = profile
    try:
        dpi = tuple(float(number) for number in image.info.get('dpi', ()))
    except (TypeError, ValueError, ZeroDivisionError):
        dpi = ()
    if len(dpi) == 2 and all(1 < x < _LARGEST_DPI for x in dpi):
        options['dpi'] = dpi
    return options


def _has_more_frames(image: Image.Image) -> bool:
    # the further images of an MPO, as some phones write it, are depth maps and the like
    try:
        return image.format != 'MPO' and getattr(image, 'is_animated', False)
    except Exception:  # of a damaged second frame; decoders raise nearly anything
        return True


def has_more_frames(path: str | Path) -> bool:
    """Returns whether an image file has frames or pages after the first, which are not read.

    Raises:
        OSError: If the file cannot be opened.
        ImageError: If it is empty or no image; the message names it.
    """
    with open(path, 'rb') as file, _name_file_in_errors(path, file):
        return _has_more_frames(open_lazily(file))


def open_lazily(file: BinaryIO) -> Image.Image:
    """Opens an image without decoding it; the limit is `MAX_PIXELS` instead of Pillow's.

    If pillow-heif is installed, HEIC files are opened as well.

    Raises:
        ValueError: If the image is larger.
    """
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = _open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f'its {image.width}x{image.height} pixels are more than {MAX_PIXELS // 10**6} million; '
            'scale it down'
        )
    return image


def open_stream(stream: BinaryIO, name: str) -> Image.Image:
    """Opens the image that a stream, e.g. standard input, holds up to its end.

    Raises:
        ValueError: If it holds none; the message names it.
    """
    content = stream.read()
    with _name_file_in_errors(name, content):
        return open_lazily(io.BytesIO(content))


def _open(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if not READS_HEIF:
            raise
    import pillow_heif

    pillow_heif.register_heif_opener()
    file.seek(0)
    return Image.open(file)


def _decode_opaque(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Returns the pixels as BGR if another decoder than Pillow's gives the same, or else None."""
    if (pixels := decode_plain_png(image, content)) is not None:
        if pixels.ndim == 2:
            return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, pixels)  # in place
    if is_decoded_alike(image, content):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return None


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
    """Turns every exception of the block into an `ImageError` that names the file."""
    try:
        yield
    # Pillow's decoders raise nearly anything on damaged data: OSError, SyntaxError, struct.error
    except Exception as error:
        if is_out_of_memory(error):  # the file is not to blame
            raise ImageError(f"cannot read '{path}': out of memory") from error
        if not isinstance(content, bytes):
            content.seek(0)
            content = content.read(12)
        if not content:
            reason = 'the file is empty'
        elif isinstance(error, UnidentifiedImageError):
            plugins = [plugin for name, plugin in _PLUGINS.items() if content[4:].startswith(name)]
            reason = plugins[0] if plugins else 'no format that Pillow knows'
        else:
            reason = f'{type(error).__name__}: {error}'
        raise ImageError(
            f"cannot read '{path}' as an image ({reason}); replace the file or remove it from the "
            'folder'
        ) from error
