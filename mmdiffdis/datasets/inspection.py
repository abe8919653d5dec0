"""What the pixels of image and mask pairs are like, and what is wrong with them."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ..images.reading import read_image, read_rgb
from ..images.values import is_zero_and_one, to_alpha
from .pairing import IMAGE_DIRS, TRUTH_DIRS, Pair, name_of, sizes_text, what_is_there


@dataclass
class Inspection:
    """Of one pair; what could not be read is None.

    Attributes:
        size: (width, height) of the upright image.
        image_levels: float64 [256], share of the image's pixels at each grey level.
        mask_levels: the same of the mask, 255 being full foreground.
        problems: (kind, file and details) each.
    """

    size: tuple[int, int] | None = None
    image_levels: np.ndarray | None = None
    mask_levels: np.ndarray | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_subsets(root: Path) -> dict[str, Path]:
    """Name -> folder of each set in ``root``: ``root`` itself, or the folders in it.

    Raises:
        FileNotFoundError: if there is none.
    """
    known = (*IMAGE_DIRS, *TRUTH_DIRS)
    candidates = [root, *sorted(root.iterdir())] if root.is_dir() else []
    sets = [path for path in candidates if any((path / name).is_dir() for name in known)]
    if not sets:
        raise FileNotFoundError(
            f"no set in '{root}'{what_is_there(root)} Expected the folders im (or image, images) "
            'and gt (or mask, masks) in it, or folders that have these.'
        )
    sets = [root] if sets[0] == root else sets
    return {path.resolve().name: path for path in sets}


def inspect_pair(pair: Pair) -> Inspection:
    """Decodes both files; nothing is raised but for want of memory."""
    found = Inspection()
    try:
        image = read_rgb(str(pair.image))
    except (OSError, ValueError) as error:
        found.problems.append(('unreadable file(s)', _because(pair.image, error)))
    else:
        found.size = image.shape[1], image.shape[0]
        found.image_levels = _levels(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    try:
        mask = read_image(str(pair.truth))
    except (OSError, ValueError) as error:
        found.problems.append(('unreadable file(s)', _because(pair.truth, error)))
        return found
    try:
        alpha = to_alpha(mask)
    except ValueError as error:
        found.problems.append(('unusable mask(s)', _because(pair.truth, error)))
        return found
    name = name_of(pair.truth)
    found.mask_levels = _levels(cv2.convertScaleAbs(alpha, alpha=255))
    if found.size and mask.size != found.size:
        text = sizes_text(pair, found.size, mask.size)
        found.problems.append(('mask(s) of another size than their image', text))
    is_foreground = alpha > 0.5
    if not is_foreground.any():
        found.problems.append(('mask(s) without foreground', name))
    elif is_foreground.all():
        found.problems.append(('mask(s) without background', name))
    if is_zero_and_one(mask):
        found.problems.append(
            ('mask(s) of 0 and 1 instead of 0 and 255, black for other software', name)
        )
    return found


def _levels(grey: np.ndarray) -> np.ndarray:
    return np.bincount(grey.ravel(), minlength=256) / grey.size


def _because(path: Path, error: Exception) -> str:
    return f'{name_of(path)} ({error})'
