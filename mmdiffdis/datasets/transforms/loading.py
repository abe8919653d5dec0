"""Loading of images and soft masks of every kind that people keep them in, and the edge target."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import mmengine.fileio as fileio
import numpy as np
from kornia_rs.io import decode_image_png_u8
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import DTypeLike
from PIL import Image, ImageOps, UnidentifiedImageError

# A grey mask stored as RGB JPEG comes back with channels that differ by a few levels; a photograph
# or a red mask differs by far more.
_GREY_TOLERANCE = 40
# Lossless masks whose largest value is this small hold class indices, not grey levels.
_LARGEST_CLASS_INDEX = 15
_LOSSY_FORMATS = ('JPEG', 'MPO', 'WEBP')
# Pillow's mode of pictures that are decoded faster elsewhere -> kornia_rs' name of it.
_PLAIN_MODES = {'RGB': 'rgb', 'L': 'mono'}
_DECODER_BYTES = 2**25  # more than it takes beside the pixels

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
        pixels = _decode_plain_png(image, content)
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
        if (pixels := _decode_plain_png(image, content)) is not None:
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
    return _is_plain_png(image, content)


def _is_plain_png(image: Image.Image, content: bytes) -> bool:
    """Whether the file is an opaque, upright 8-bit PNG, grey or in colours, with its end in place.

    An orientation may stand behind the pixels; so between the last of their chunks (length, name,
    data, checksum) and the 12 bytes of IEND there must be nothing else.
    """
    if image.format != 'PNG' or image.mode not in _PLAIN_MODES:
        return False
    bits_per_channel = content[24]
    if bits_per_channel != 8 or {'transparency', 'exif', 'xmp'} & image.info.keys():
        return False
    name = content.rfind(b'IDAT')
    length = int.from_bytes(content[name - 4 : name], 'big')
    return name + 4 + length + 4 + 12 == len(content)


def _decode_plain_png(image: Image.Image, content: bytes) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB or [H, W] grey of a plain PNG, as Pillow decodes it, or None.

    In half of Pillow's and OpenCV's time for a photograph, in a fifth for a mask. None, and so left
    to them: any other file; damaged ones, for they say what is wrong; and what is read in a thread,
    for kornia_rs lets no other one run, and stops the process for good when memory runs out, which
    others may use up meanwhile.
    """
    if not _is_plain_png(image, content):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        needed = np.empty(image.width * image.height * len(image.mode) + _DECODER_BYTES, np.uint8)
        del needed  # it can be had
        pixels = decode_image_png_u8(content, image.size[::-1], _PLAIN_MODES[image.mode])
    except Exception:  # kornia_rs raises no more special one
        return None
    return pixels if image.mode == 'RGB' else pixels[..., 0]


def to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] in RGB order, of any mode of picture.

    16-bit grey is scaled to 8 bits. Transparent pixels are laid over white, as most viewers show
    them: what lies hidden beneath them is often garbage.

    Raises:
        ValueError: for 32-bit integer and floating-point pictures, whose white is not defined.
    """
    if image.mode.startswith(('I', 'F')):
        return np.repeat(np.uint8(np.rint(_deep_grey(image) * 255))[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return np.array(image.convert('RGB'))


def to_alpha(
    image: Image.Image, full_scale: int | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """[H, W] of any mode of mask: float32 up to 1, or uint8 up to 255, which is foreground.

    In this order: an alpha channel that varies is the mask; a palette of two colours, the first
    black, is an index map; everything else must be grey. What counts as 1:

    * ``full_scale``, if given;
    * 1, if the file is lossless and holds no other values than 0 and 1 (boolean and 0/1 masks);
    * 255 for 8-bit files, and for 16-bit files without any larger value;
    * 65535 for other 16-bit files.

    Raises:
        ValueError: if the mask is coloured, or lossless and without any value above 15 (class
        indices?).
    """
    grey, white = _grey_levels(image)
    if full_scale is None:
        # lossy compression may sprinkle an all-black mask with 1s
        lossless = image.format not in _LOSSY_FORMATS
        largest = grey.max()
        if lossless and largest == 1:
            full_scale = 1
        elif lossless and 1 < largest <= _LARGEST_CLASS_INDEX and white >= 255:
            raise ValueError(
                f'its largest value is {largest:g}, which looks like class indices. Save it as 0 '
                'and 255, or set `full_scale` of LoadDISAnnotations to the value that means '
                'foreground.'
            )
        else:
            full_scale = 255 if white == 65535 and largest <= 255 else white
    if grey.dtype == np.uint8:
        levels = _to_dtype(np.arange(256) / full_scale, dtype)
        unchanged = levels.dtype == np.uint8 and full_scale == 255
        return grey if unchanged else cv2.LUT(grey, levels)
    return _to_dtype(grey / full_scale, dtype)


def _to_dtype(alpha: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    alpha = np.clip(alpha, 0, 1)
    return (np.rint(alpha * 255) if dtype == np.uint8 else alpha).astype(dtype)


def is_zero_and_one(image: Image.Image) -> bool:
    """Whether `to_alpha` takes 1 for foreground although the format has grey levels."""
    grey, white = _grey_levels(image)
    return white >= 255 and image.format not in _LOSSY_FORMATS and grey.max() == 1


def _grey_levels(image: Image.Image) -> tuple[np.ndarray, int]:
    """Grey levels [H, W] and the level that the file's format calls white."""
    if image.mode == '1':
        return np.array(image, np.uint8), 1
    if image.mode == 'F':
        return _deep_grey(image), 1
    if image.mode.startswith('I'):
        return np.rint(_deep_grey(image) * 65535), 65535
    if image.has_transparency_data:
        alpha = np.array(image.convert('RGBA'))[..., 3]
        if alpha.min() != alpha.max():
            return alpha, 255
    if image.mode == 'P':
        index = np.array(image)
        colours = np.array(image.convert('RGB'))
        used = np.unique(index)
        is_index_map = len(used) <= 2 and used[0] == 0 and not colours[index == 0].any()
        if is_index_map and np.ptp(colours, axis=2).max() > _GREY_TOLERANCE:
            return np.uint8(index > 0), 1
    if image.mode == 'L':
        return np.array(image), 255
    colours = np.array(image.convert('RGB'))
    spread = int(np.ptp(colours, axis=2).max())
    if spread > _GREY_TOLERANCE:
        raise ValueError(
            f'it is coloured (channels differ by up to {spread} of 255), so its grey level does '
            'not tell foreground from background. Save it as a grey image, black to white.'
        )
    return np.array(Image.fromarray(colours).convert('L')), 255


def _deep_grey(image: Image.Image) -> np.ndarray:
    """float64 [H, W] in [0, 1] of a picture of more than 8 bits."""
    values = np.array(image, np.float64)
    white = 1 if image.mode == 'F' else 65535
    if not (values.min() >= 0 and values.max() <= white):
        raise ValueError(
            f'its values lie in [{values.min():g}, {values.max():g}], expected [0, {white}] for '
            f"mode '{image.mode}'. Save it with 8 or 16 bits."
        )
    return values / white


@TRANSFORMS.register_module()
class LoadDISImage(BaseTransform):
    """``img`` uint8 [H, W, 3] BGR, upright, and ``img_shape``, ``ori_shape``; see ``to_rgb``.

    Used instead of mmcv's loader because that one keeps the hidden colours of transparent pixels
    and decodes truncated files to half-grey pictures without a word.

    Args:
        backend_args: of mmengine's file backend.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``."""
        results['img'] = read_bgr(results['img_path'], self.backend_args)
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class LoadDISAnnotations(BaseTransform):
    """``gt_alpha`` [H, W], the soft mask, and ``gt_seg_map`` uint8 {0, 1}; see ``to_alpha``.

    ``gt_seg_map`` is 1 where ``gt_alpha`` is above its half. Both are listed in ``seg_fields``. May
    stand after a resizing of the image (the habit of mmseg's test pipelines): the mask then stays
    at the original size.

    Args:
        full_scale: value of the mask files that means full foreground; None finds out per file.
        dtype: of ``gt_alpha`` in the pipeline: ``'float32'`` in [0, 1], or ``'uint8'`` in [0, 255],
            a quarter of the memory, of which all later transforms are faster. A sample holds
            float32 in [0, 1] always.
        backend_args: of mmengine's file backend.

    Raises:
        ValueError: if there is no such dtype.
    """

    def __init__(
        self,
        full_scale: int | None = None,
        dtype: Literal['float32', 'uint8'] = 'float32',
        backend_args: dict | None = None,
    ) -> None:
        if dtype not in ('float32', 'uint8'):
            raise ValueError(f"`dtype` is '{dtype}', expected 'float32' or 'uint8'.")
        self.full_scale = full_scale
        self.dtype = dtype
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read ``results['seg_map_path']`` and check its size against the image's.

        Raises:
            ValueError: if the file is damaged, no usable mask, or not of the image's size.
        """
        path = results['seg_map_path']
        image = read_image(path, self.backend_args)
        try:
            alpha = to_alpha(image, self.full_scale, np.dtype(self.dtype))
        except ValueError as error:
            raise ValueError(f"cannot use the mask '{path}': {error}") from error
        height, width = results['ori_shape'][:2]
        if alpha.shape != (height, width):
            raise ValueError(
                f"the mask '{path}' is {alpha.shape[1]}x{alpha.shape[0]} pixels, but its image "
                f"'{results['img_path']}' is {width}x{height}. Export the mask at the size of the "
                'image.'
            )
        half = 127 if alpha.dtype == np.uint8 else 0.5
        results['gt_alpha'] = alpha
        results['gt_seg_map'] = (alpha > half).view(np.uint8)
        results['seg_fields'] = _with_fields(results, 'gt_seg_map', 'gt_alpha')
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(full_scale={self.full_scale}, dtype={self.dtype!r}, '
            f'backend_args={self.backend_args})'
        )


@TRANSFORMS.register_module()
class GenerateDISEdge(BaseTransform):
    """``gt_edge_map`` [H, W], all or nothing, from ``gt_alpha`` and of its type.

    It is listed in ``seg_fields``.

    5x5 dilation minus 5x5 erosion of the 8-bit mask; differences of 6 grey levels or more are edge
    (rule of the released DiffDIS training data). The width is in pixels of the mask at hand, so
    this stands right after ``LoadDISAnnotations``, at full resolution.
    """

    kernel_size = 5
    smallest_step = 6

    def transform(self, results: dict) -> dict:
        """Add the edge of ``results['gt_alpha']``."""
        if 'gt_alpha' not in results:
            raise ValueError(
                "GenerateDISEdge found no 'gt_alpha'; put LoadDISAnnotations before it in the "
                'pipeline.'
            )
        alpha = results['gt_alpha']
        is_bytes = alpha.dtype == np.uint8
        grey = alpha if is_bytes else cv2.convertScaleAbs(alpha, alpha=255)
        kernel = np.ones((self.kernel_size, self.kernel_size), np.uint8)
        step = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, kernel)
        _, edge = cv2.threshold(step, self.smallest_step - 1, 255, cv2.THRESH_BINARY)
        results['gt_edge_map'] = edge if is_bytes else edge.astype(np.float32) / 255
        results['seg_fields'] = _with_fields(results, 'gt_edge_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _with_fields(results: dict, *names: str) -> list[str]:
    """``seg_fields`` and ``names``, as a new list: copies of ``results`` share the old one."""
    fields = results.get('seg_fields', [])
    return fields + [name for name in names if name not in fields]
