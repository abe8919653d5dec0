"""Results of an image and its mask: clean masks, cut-outs on backgrounds, crops, files."""

from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps

from .options import BLUR, ResultOptions
from .panels import cutout, overlay, panel, to_grey, to_unit
from .reading import read_image
from .values import to_rgb

_FAINT = 2.5 / 255  # levels up to 2 are no part of the subject
_SOLID = 0.5
_BLUR_SIDE = 512  # of the image that is blurred
_BLUR_SIGMA, _FAR_SIGMA = 10.0, 40.0  # in it
_TRACE = 1e-3  # weight of the mean colour of the background
_PILLOW_FORMATS = {'png': 'PNG', 'webp': 'WEBP', 'jpg': 'JPEG', 'tiff': 'TIFF'}
_JPEG_QUALITY = 90


def finish(
    image: np.ndarray,
    mask: np.ndarray,
    options: ResultOptions,
    opacity: np.ndarray | None = None,
    edge: np.ndarray | None = None,
) -> Image.Image:
    """Returns the result of an image and its mask.

    The mask is cleaned before it is used. The result is made at the image's size, then cut to the
    subject, scaled, and laid on its background.

    Args:
        image: uint8 [H, W, 3] RGB.
        mask: Float [H, W] in [0, 1].
        options: The options.
        opacity: uint8 [H, W], alpha channel of an image that lies over white, or None if it is
            opaque. It multiplies the alpha channel of cut-outs, and where it is 0 is no subject.
        edge: Float [H, W] in [0, 1], for edges and panels.
    """
    mask = refine_mask(mask, options.threshold, options.clean)
    if options.type == 'mask':
        result = Image.fromarray(to_grey(mask))
    elif options.type == 'cutout':
        result = Image.fromarray(cutout(image, mask, opacity))
    elif options.type == 'overlay':
        result = Image.fromarray(overlay(image, mask))
    elif options.type == 'edge':
        result = Image.fromarray(to_grey(edge))
    else:
        result = Image.fromarray(panel(image, mask=mask, edge=edge))
    box = (0, 0, *result.size)
    if options.crop is not None:
        visible = mask if opacity is None else mask * to_unit(opacity)
        box = subject_box(visible, options.crop)
        result = result.crop(box)
    if options.size is not None:
        result = ImageOps.pad(result, options.size)
    if options.background is not None:
        result = _lay_on_background(result, image, mask, box, options)
    return result


def save(
    result: Image.Image,
    file: Path | BinaryIO,
    options: ResultOptions,
    metadata: dict | None = None,
) -> None:
    """Writes a result of `finish` in the format of its options.

    Args:
        result: The result.
        file: Path or binary file.
        options: The options that it was made by.
        metadata: Colour profile and resolution of the image, as options of Pillow's `save`. Grey
            results have no colours and are written without.

    Raises:
        OSError: If the file cannot be written, or its format has no images of this size.
        ValueError: Likewise.
    """
    settings = {} if result.mode == 'L' else dict(metadata or {})
    if options.format == 'jpg':
        settings['quality'] = options.quality or _JPEG_QUALITY
    elif options.format == 'webp' and options.quality is None:
        settings['lossless'] = True
    elif options.format == 'webp':
        settings['quality'] = options.quality
    elif options.format == 'tiff':
        settings['compression'] = 'tiff_adobe_deflate'
    result.save(file, format=_PILLOW_FORMATS[options.format], **settings)


def refine_mask(
    mask: np.ndarray, threshold: float | None = None, clean: bool = False
) -> np.ndarray:
    """Returns the mask with two levels, or cleaned, or both, as in `ResultOptions`."""
    if threshold is not None:
        mask = (mask > threshold).astype(np.float32)
    return _fill_holes(_largest_piece(mask)) if clean else mask


def subject_box(mask: np.ndarray, margin: int = 0) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom of what is above level 2 of 255, and a margin around it.

    The margin ends at the image's border. Without a subject, the box is the whole image.
    """
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect((mask > _FAINT).view(np.uint8))
    if not w:
        return 0, 0, width, height
    left, top = max(x - margin, 0), max(y - margin, 0)
    return left, top, min(x + w + margin, width), min(y + h + margin, height)


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    """Returns the mask without pieces above 0.5 other than the largest, and their surroundings.

    A soft pixel belongs to the nearest piece, if it is connected with it.
    """
    solid = mask > _SOLID
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(solid.view(np.uint8))
    if len(statistics) < 2:  # the first is the background
        return mask
    largest = pieces == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
    inside = np.unravel_index(largest.argmax(), mask.shape)
    nearest = _nearest(solid)
    around = (nearest == nearest[inside]) & (mask > _FAINT)
    _, connected = cv2.connectedComponents(around.view(np.uint8))
    return np.where(connected == connected[inside], mask, 0)


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Returns the mask with 1 in its holes, and nearer to one of them than to the outside."""
    nearest = _nearest(np.pad(mask <= _SOLID, 1, constant_values=True))
    return np.where(nearest[1:-1, 1:-1] == nearest[0, 0], mask, 1)


def _nearest(places: np.ndarray) -> np.ndarray:
    """Returns the number of the connected piece of True that is nearest to each pixel."""
    zeros = (~places).view(np.uint8)
    kind = cv2.DIST_LABEL_CCOMP
    return cv2.distanceTransformWithLabels(zeros, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=kind)[1]


def _lay_on_background(
    result: Image.Image,
    image: np.ndarray,
    mask: np.ndarray,
    box: tuple[int, int, int, int],
    options: ResultOptions,
) -> Image.Image:
    if options.background == BLUR:
        background = Image.fromarray(_blurred_background(image, mask, box, result.size))
    elif options.colour is not None:
        background = Image.new('RGB', result.size, options.colour)
    else:
        background = Image.fromarray(to_rgb(read_image(options.background)))
        background = ImageOps.fit(background, result.size)
    return Image.alpha_composite(background.convert('RGBA'), result).convert('RGB')


def _blurred_background(
    image: np.ndarray, mask: np.ndarray, box: tuple[int, int, int, int], size: tuple[int, int]
) -> np.ndarray:
    """Returns the image out of focus, without the subject's colours around it.

    It is placed as the box is that is centred in `size`; its outermost pixels are continued.
    """
    scale = min(1, _BLUR_SIDE / max(mask.shape))
    small = tuple(max(1, round(side * scale)) for side in mask.shape[::-1])
    colours = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    covered = cv2.resize(to_unit(mask), small, interpolation=cv2.INTER_AREA)
    weight = (covered <= _FAINT).astype(np.float32)[..., None]
    # the subject gives way to the mean of what is around it
    mean = np.average(colours.reshape(-1, 3), 0, weight.ravel() + _TRACE)
    sums = cv2.GaussianBlur(colours * weight, (0, 0), _FAR_SIGMA) + _TRACE * mean
    total = cv2.GaussianBlur(weight, (0, 0), _FAR_SIGMA)[..., None] + _TRACE
    filled = weight * colours + (1 - weight) * sums / total
    blurred = np.rint(cv2.GaussianBlur(filled, (0, 0), _BLUR_SIGMA)).astype(np.uint8)
    start, end = np.reshape(box, (2, 2))
    enlarged = min(size / (end - start)) / (np.array(small) / mask.shape[::-1])
    # OpenCV's coordinates are those of the centres of pixels
    centre = (start + end) / 2 * small / mask.shape[::-1] - 0.5
    place = np.array(size) / 2 - 0.5 - enlarged * centre
    matrix = np.column_stack([np.diag(enlarged), place])
    flags = dict(flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cv2.warpAffine(blurred, matrix, size, **flags)
