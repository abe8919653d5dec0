"""Pictures of masks, as pure functions on arrays.

Images are uint8 [H, W, 3] RGB. Masks and edges are [H, W], uint8 (0-255) or float ([0, 1]).
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from .foreground import foreground_colour

_GAP = 6
_CAPTION_HEIGHT = 26
_SMALLEST_CAPTION = 0.5  # of the usual size; smaller ones cannot be read
_BORDER = ((0, 4), (3, 3), (0, 0))  # around a pair of a contact sheet
_PAPER = 255
_TINT = np.array((255, 40, 90), np.float32)  # rarely met in photographs
_STRIP = 256  # rows computed at once in floating point, which bounds the memory


def panel(
    image: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    edge: np.ndarray | None = None,
    max_side: int = 512,
) -> np.ndarray:
    """uint8 [H', W', 3]: the parts given, side by side under their captions; see ``row``.

    Raises:
        ValueError: if no part is given.
    """
    parts = {'image': image, 'truth': truth, 'mask': mask, 'edge': edge}
    parts = {caption: part for caption, part in parts.items() if part is not None}
    if not parts:
        raise ValueError('a panel needs at least one of image, truth, mask and edge.')
    return row(parts, max_side)


def row(parts: dict[str, np.ndarray], max_side: int = 512) -> np.ndarray:
    """uint8 [H', W', 3]: images, masks and edges side by side under the captions they are filed by.

    All parts are shown at the size of the first, scaled to ``max_side`` pixels on its longer side.
    """
    size = _fitting(next(iter(parts.values())), max_side)
    tiles = []
    for caption, part in parts.items():
        tiles.append(_captioned(_resized(part, size), caption))
    gap = np.full((tiles[0].shape[0], _GAP, 3), _PAPER, np.uint8)
    return np.hstack([tiles[0], *(piece for tile in tiles[1:] for piece in (gap, tile))])


def contact_sheet(
    pairs: Sequence[tuple[str, np.ndarray, np.ndarray]], columns: int = 4, side: int = 160
) -> np.ndarray:
    """uint8 [H', W', 3]: a grid of (name, image, mask), each image beside its mask under the name.

    Every picture lies in a box of the same size, ``side`` pixels wide, as high as the tallest needs
    (at most ``side``).
    """
    scaled = []
    for name, *parts in pairs:
        # each by its own shape, for a mask may not have its image's
        scaled.append((name, [_resized(part, _fitting(part, side)) for part in parts]))
    height = max(part.shape[0] for _, parts in scaled for part in parts)
    tiles = []
    for name, parts in scaled:
        tile = np.full((height, 2 * side, 3), _PAPER, np.uint8)
        for left, part in zip((0, side), parts, strict=True):
            tile[: part.shape[0], left : left + part.shape[1]] = part
        tiles.append(np.pad(_captioned(tile, name), _BORDER, constant_values=_PAPER))
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], _PAPER)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def spread(items: Sequence, count: int) -> list:
    """At most ``count`` of the items, evenly spaced."""
    count = min(len(items), count)
    return [items[i * len(items) // count] for i in range(count)]


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the image with its foreground tinted, half-way where the mask is 1."""

    def tint(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
        weight = 0.5 * to_unit(mask)[..., None]
        return np.rint(image * (1 - weight) + _TINT * weight)

    return _by_strips(tint, np.empty_like(image), image, mask)


def cutout(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] RGBA: the foreground in its own colours, the mask as its alpha channel."""
    return np.dstack([foreground_colour(image, to_unit(mask)), to_grey(mask)])


def to_grey(mask: np.ndarray) -> np.ndarray:
    """uint8 [H, W], 0-255, of a mask or edge."""
    if mask.dtype == np.uint8:
        return mask
    levels = np.empty(mask.shape, np.uint8)
    return _by_strips(lambda part: np.rint(np.clip(part, 0, 1) * 255), levels, mask)


def to_unit(mask: np.ndarray) -> np.ndarray:
    """float32 [H, W] in [0, 1] of a mask or edge."""
    if mask.dtype == np.uint8:
        return mask.astype(np.float32) / 255
    return mask.astype(np.float32, copy=False)


def _by_strips(
    compute: Callable[..., np.ndarray], out: np.ndarray, *parts: np.ndarray
) -> np.ndarray:
    """`out`, filled with what `compute` makes of the same rows of all `parts`."""
    for top in range(0, len(out), _STRIP):
        rows = slice(top, top + _STRIP)
        out[rows] = compute(*(part[rows] for part in parts))
    return out


def _fitting(part: np.ndarray, side: int) -> tuple[int, int]:
    """(width, height) of a part scaled to ``side`` pixels on its longer side."""
    height, width = part.shape[:2]
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H', W', 3] at the size (width, height) of an image, mask or edge."""
    part = cv2.resize(part if part.ndim == 3 else to_grey(part), size, interpolation=cv2.INTER_AREA)
    return part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)


def _captioned(tile: np.ndarray, caption: str) -> np.ndarray:
    bar = np.full((_CAPTION_HEIGHT, tile.shape[1], 3), _PAPER, np.uint8)
    position = (4, _CAPTION_HEIGHT - 8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.55
    (width, _), _ = cv2.getTextSize(caption, font, scale, 1)
    # DIS5K's names are long, and differ at their ends
    scale *= min(1, max(_SMALLEST_CAPTION, (bar.shape[1] - 8) / width)) if width else 1
    cv2.putText(bar, caption, position, font, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, tile])
