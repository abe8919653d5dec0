"""Meaning of pixel values: RGB images and soft masks of any mode."""

import cv2
import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

# The channels of a grey mask saved as RGB JPEG differ by a few levels, those of a photograph or a
# red mask by far more.
_GREY_TOLERANCE = 40
# Lossless masks whose largest value is this small hold class indices instead of grey levels.
_LARGEST_CLASS_INDEX = 15
_LOSSY_FORMATS = ('JPEG', 'MPO', 'WEBP')


def to_rgb(image: Image.Image) -> np.ndarray:
    """Converts an image of any mode to uint8 [H, W, 3] RGB.

    16-bit grey is scaled to 8 bits. Transparent pixels are laid over white, as most viewers show
    them, because their hidden colours are often garbage.

    Raises:
        ValueError: If 32-bit integers leave [0, 65535], or floating-point numbers [0, 1].
    """
    if image.mode.startswith(('I', 'F')):
        return np.repeat(np.uint8(np.rint(_deep_grey(image) * 255))[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return np.array(image.convert('RGB'))


def opacity(image: Image.Image) -> np.ndarray | None:
    """Returns the opacity of each pixel, uint8 [H, W], or None if all are opaque."""
    if not image.has_transparency_data or image.mode.startswith(('I', 'F')):
        return None
    alpha = np.array(image.convert('RGBA'))[..., 3]
    return alpha if alpha.min() < 255 else None


def to_alpha(
    image: Image.Image, full_scale: int | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """Converts a mask of any mode to [H, W], float32 in [0, 1] or uint8 in [0, 255].

    An alpha channel is the mask, unless it is opaque throughout. Otherwise, a palette of two
    colours, the first of them black, is an index map. Everything else must be grey; a grey level
    that is marked as transparent stays one.

    Args:
        image: The mask.
        full_scale: Value that means full foreground. If None, it is

            * 1, if the file is lossless and has no values but 0 and 1 (boolean and 0/1 masks);
            * 255 for alpha channels, 8-bit files, and 16-bit files without any larger value;
            * 65535 for other 16-bit files.
        dtype: Type of the result.

    Raises:
        ValueError: If the mask is coloured, if it is lossless with a largest value of 2 to 15,
            which may be class indices, or if `full_scale` is below 1.
    """
    if full_scale is not None and full_scale < 1:
        raise ValueError(f'full_scale={full_scale}: expected the grey level of foreground, above 0')
    grey, white, may_be_classes = _grey_levels(image)
    if full_scale is None:
        largest = grey.max()
        if may_be_classes and largest == 1:
            full_scale = 1
        elif may_be_classes and 1 < largest <= _LARGEST_CLASS_INDEX:
            raise ValueError(
                f'its largest value is {largest:g}, which looks like class indices; save it as 0 '
                'and 255, or set `full_scale` of LoadDISAnnotations to the value that means '
                'foreground'
            )
        else:
            full_scale = 255 if white == 65535 and largest <= 255 else white
    if grey.dtype == np.uint8:
        levels = _to_dtype(np.arange(256) / full_scale, dtype)
        unchanged = levels.dtype == np.uint8 and full_scale == 255
        return grey if unchanged else cv2.LUT(grey, levels)
    return _to_dtype(grey / full_scale, dtype)


def is_zero_and_one(image: Image.Image) -> bool:
    """Returns whether 1 means foreground in a mask although its format has grey levels."""
    grey, _, may_be_classes = _grey_levels(image)
    return may_be_classes and grey.max() == 1


def _to_dtype(alpha: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    alpha = np.clip(alpha, 0, 1)
    return (np.rint(alpha * 255) if dtype == np.uint8 else alpha).astype(dtype)


def _grey_levels(image: Image.Image) -> tuple[np.ndarray, int, bool]:
    """Returns the levels [H, W], the level of white, and whether they may be class indices."""
    # lossy compression may sprinkle an all-black mask with 1s
    lossless = image.format not in _LOSSY_FORMATS
    if image.mode == '1':
        return np.array(image, np.uint8), 1, False
    if image.mode == 'F':
        return _deep_grey(image), 1, False
    if image.mode.startswith('I'):
        return np.rint(_deep_grey(image) * 65535), 65535, lossless
    if (alpha := _alpha_channel(image)) is not None:
        return alpha, 255, False
    if image.mode == 'P':
        index = np.array(image)
        colours = np.array(image.convert('RGB'))
        used = np.unique(index)
        is_index_map = len(used) <= 2 and used[0] == 0 and not colours[index == 0].any()
        if is_index_map and np.ptp(colours, axis=2).max() > _GREY_TOLERANCE:
            return np.uint8(index > 0), 1, False
    if image.mode == 'L':
        return np.array(image), 255, lossless
    colours = np.array(image.convert('RGB'))
    difference = int(np.ptp(colours, axis=2).max())
    if difference > _GREY_TOLERANCE:
        raise ValueError(
            f'it is coloured (channels differ by up to {difference} of 255), so its grey level '
            'does not tell foreground from background; save it as a grey image, black to white'
        )
    return np.array(Image.fromarray(colours).convert('L')), 255, lossless


def _alpha_channel(image: Image.Image) -> np.ndarray | None:
    """Returns the alpha channel of a mask, uint8 [H, W], or None without one or if it is opaque.

    Files without an alpha channel may mark a single colour as transparent. In a palette of colours
    that is the ground around a cut-out; in a grey mask it would replace the soft levels.
    """
    if image.mode in ('L', 'RGB'):
        return None
    alpha = opacity(image)
    if alpha is not None and isinstance(image.info.get('transparency'), int):
        colours = np.array(image.convert('RGB'))
        is_grey = np.ptp(colours, axis=2).max() <= _GREY_TOLERANCE
        if is_grey and not colours[alpha == 0].any():
            return None
    return alpha


def _deep_grey(image: Image.Image) -> np.ndarray:
    """Returns an image of more than 8 bits as float64 [H, W] in [0, 1]."""
    values = np.array(image, np.float64)
    white = 1 if image.mode == 'F' else 65535
    if not (values.min() >= 0 and values.max() <= white):
        raise ValueError(
            f'its values lie in [{values.min():g}, {values.max():g}], expected [0, {white}] for '
            f"mode '{image.mode}'; save it with 8 or 16 bits"
        )
    return values / white
