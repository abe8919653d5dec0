"""Panels that show images, masks and edges.

Images are uint8 [H, W, 3] RGB. Masks and edges are [H, W], uint8 in [0, 255] or float in [0, 1].
"""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np

from .foreground import foreground_colour

_GAP = 6
_CAPTION_HEIGHT = 26
_SMALLEST_CAPTION = 0.5  # share of the usual size; smaller ones cannot be read
_BORDER = ((0, 4), (3, 3), (0, 0))  # around a pair of a contact sheet
_PAPER = 255
_TINT = np.array((255, 40, 90), np.float32)  # rare in photographs
_STRIP = 256  # rows computed at once in floating point, which bounds the memory


def panel(
    image: np.ndarray | None = None,
    gt: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    edge: np.ndarray | None = None,
    max_side: int = 512,
) -> np.ndarray:
    """Returns the given parts side by side as uint8 [H', W', 3], see `row`.

    Raises:
        ValueError: If no part is given.
    """
    parts = {'image': image, 'ground truth': gt, 'mask': mask, 'edge': edge}
    parts = {caption: part for caption, part in parts.items() if part is not None}
    if not parts:
        raise ValueError('nothing to show: expected at least one of image, gt, mask and edge')
    return row(parts, max_side)


def row(parts: dict[str, np.ndarray], max_side: int = 512) -> np.ndarray:
    """Returns images, masks and edges side by side under their captions, uint8 [H', W', 3].

    Args:
        parts: Caption -> image, mask or edge. All are shown at the size of the first.
        max_side: Longer side of the first in pixels.
    """
    size = _fit(next(iter(parts.values())), max_side)
    tiles = [_add_caption(_resize(part, size), caption) for caption, part in parts.items()]
    gap = np.full((tiles[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    return np.hstack([tiles[0], *(piece for tile in tiles[1:] for piece in (gap, tile))])


def stack_rows(rows: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    """Returns rows of any widths below one another, filled with white on their right.

    Args:
        rows: uint8 [H', W', 3] each.
        gap: White pixels below each row.
    """
    width = max(row.shape[1] for row in rows)
    borders = [((0, gap), (0, width - row.shape[1]), (0, 0)) for row in rows]
    padded = map(partial(np.pad, constant_values=_PAPER), rows, borders)
    return np.vstack(list(padded))


def contact_sheet(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]], columns: int = 4, side: int = 160
) -> np.ndarray:
    """Returns a grid of pairs, each image beside its mask under its name, uint8 [H', W', 3].

    Args:
        pairs: (name, image, mask) each.
        columns: Pairs in a row of the grid.
        side: Longer side of the images and masks in pixels. They lie in boxes of this width that
            are as high as the highest of them.
    """
    scaled = []
    for name, *parts in pairs:
        # one by one, for a mask may have another shape than its image
        scaled.append((name, [_resize(part, _fit(part, side)) for part in parts]))
    height = max(part.shape[0] for _, parts in scaled for part in parts)
    tiles = []
    for name, parts in scaled:
        tile = np.full((height, 2 * side, 3), _PAPER, np.uint8)
        for left, part in zip((0, side), parts, strict=True):
            tile[: part.shape[0], left : left + part.shape[1]] = part
        tiles.append(np.pad(_add_caption(tile, name), _BORDER, constant_values=_PAPER))
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], _PAPER)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def evenly_spaced(items: Sequence, count: int) -> list:
    """Returns at most `count` of the items, evenly spaced.

    Example:
        >>> evenly_spaced('abcdef', 3)
        ['a', 'c', 'e']
    """
    count = min(len(items), count)
    return [items[i * len(items) // count] for i in range(count)]


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the image with a tint of half weight where the mask is 1, uint8 [H, W, 3]."""

    def tint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        weight = 0.5 * to_unit(mask)[..., None]
        return np.rint(image * (1 - weight) + _TINT * weight)

    return _compute_by_strips(tint, np.empty_like(image), image, mask)


def cutout(image: np.ndarray, mask: np.ndarray, opacity: np.ndarray | None = None) -> np.ndarray:
    """Returns the foreground's colours with the mask as alpha channel, uint8 [H, W, 4] RGBA.

    Transparent pixels are black, so that nothing of the background is left in them.

    Args:
        image: uint8 [H, W, 3].
        mask: The mask.
        opacity: uint8 [H, W], of an image that lies over white, or None if it is opaque. It
            multiplies the mask, and the white is removed from the colours.
    """
    if opacity is None:
        alpha = to_grey(mask)
        colours = foreground_colour(image, to_unit(mask))
    else:
        share = to_unit(opacity)
        alpha = to_grey(to_unit(mask) * share)
        colours = foreground_colour(image, to_unit(alpha))
        mixed = (opacity > 0) & (opacity < 255)
        white = 255 * (1 - share[mixed, None])
        colours[mixed] = np.rint(((image[mixed] - white) / share[mixed, None]).clip(0, 255))
    colours[alpha == 0] = 0
    return np.dstack([colours, alpha])


def to_grey(mask: np.ndarray) -> np.ndarray:
    """Converts a mask or edge to uint8 [H, W] in [0, 255]."""
    if mask.dtype == np.uint8:
        return mask
    levels = np.empty(mask.shape, np.uint8)
    return _compute_by_strips(lambda part: np.rint(np.clip(part, 0, 1) * 255), levels, mask)


def to_unit(mask: np.ndarray) -> np.ndarray:
    """Converts a mask or edge to float32 [H, W] in [0, 1]."""
    if mask.dtype == np.uint8:
        return mask.astype(np.float32) / 255
    return mask.astype(np.float32, copy=False)


def _compute_by_strips(
    compute: Callable[..., np.ndarray], out: np.ndarray, *arrays: np.ndarray
) -> np.ndarray:
    """Fills `out` with `compute` of the same rows of all arrays, some rows at a time."""
    for top in range(0, len(out), _STRIP):
        rows = slice(top, top + _STRIP)
        out[rows] = compute(*(array[rows] for array in arrays))
    return out


def _fit(part: np.ndarray, side: int) -> tuple[int, int]:
    """Returns (width, height) of a part scaled to `side` pixels on its longer side."""
    height, width = part.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resize(part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns an image, mask or edge at the size (width, height), uint8 [H', W', 3]."""
    part = cv2.resize(part if part.ndim == 3 else to_grey(part), size, interpolation=cv2.INTER_AREA)
    return part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)


def _add_caption(tile: np.ndarray, caption: str) -> np.ndarray:
    # OpenCV crashes on the bytes of a file name that are no Unicode
    caption = caption.encode('utf-8', 'backslashreplace').decode()
    bar = np.full((_CAPTION_HEIGHT, tile.shape[1], 3), _PAPER, np.uint8)
    position = (4, _CAPTION_HEIGHT - 8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.55
    (width, _), _ = cv2.getTextSize(caption, font, scale, 1)
    # DIS5K's names are long and differ at their ends, so they are shrunk instead of cut
    scale *= min(1, max(_SMALLEST_CAPTION, (bar.shape[1] - 8) / width)) if width else 1
    cv2.putText(bar, caption, position, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, tile])
