"""Inspection of the pixels of image and mask pairs: problems, sizes and grey levels."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from ..images.panels import contact_sheet, evenly_spaced
from ..images.reading import has_more_frames, read_image, read_rgb
from ..images.values import is_zero_and_one, to_alpha
from ..utils.files import printable
from ..utils.parallel import process_pool
from .pairing import (
    IMAGE_DIRS,
    MASK_DIRS,
    OTHER_SIZE,
    ImageMaskPair,
    list_subfolders,
    pair_images_and_masks,
    short_name,
    size_mismatch,
    subfolders_of,
    summarise_problems,
)

_SHEET_PAIRS = 48
_LISTED_FILES = 20  # of each kind of problem, in a summary
_BAR_LENGTH = 40  # characters


@dataclass
class Inspection:
    """Result of `inspect_pair`; None stands for what could not be read.

    Attributes:
        size: (width, height) of the upright image.
        image_levels: float64 [256], share of the image's pixels at each grey level.
        mask_levels: The same of the mask; 255 is full foreground.
        problems: (kind, file and details) each.
    """

    size: tuple[int, int] | None = None
    image_levels: np.ndarray | None = None
    mask_levels: np.ndarray | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)


def find_subsets(root: Path) -> dict[str, Path]:
    """Returns name -> folder of the sets in `root`: `root` itself, or the folders in it.

    Raises:
        FileNotFoundError: If there is none.
    """
    dirs = (*IMAGE_DIRS, *MASK_DIRS)
    sets = [
        path
        for path in (root, *subfolders_of(root))
        if any(inner.name.lower() in dirs for inner in subfolders_of(path))
    ]
    if not sets:
        raise FileNotFoundError(
            f"no set in '{root}'{list_subfolders(root)}: expected the folders im "
            f'(or {", ".join(IMAGE_DIRS[1:])}) and gt (or {", ".join(MASK_DIRS[1:])}) in it, or '
            'folders that have these'
        )
    names = {path.name: path for path in sets if path != root}
    if sets[0] == root:
        name = root.resolve().name
        names = {'.' if name in names else name: root, **names}
    return {printable(name): path for name, path in names.items()}


def inspect_subset(folder: Path, name: str, workers: int) -> tuple[dict, list[ImageMaskPair]]:
    """Returns a report of one set, ready for JSON, and the pairs of readable files.

    Args:
        folder: Folder with im/ and gt/ or their other names.
        name: Title of the progress bar.
        workers: Processes that decode.
    """
    try:
        pairing = pair_images_and_masks(folder)
    except FileNotFoundError as error:
        return dict(pairs=0, problems={'missing folder(s)': [str(error)]}), []
    inspections = _inspect_pairs(pairing.pairs, name, workers)
    problems = pairing.problems | pairing.passed_over
    for inspection in inspections:
        for kind, text in inspection.problems:
            if 'the file is empty' not in text:  # found by the pairing
                problems[kind] = [*problems.get(kind, []), text]
    sizes = [inspection.size for inspection in inspections if inspection.size]
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    report = dict(
        pairs=len(pairing.pairs),
        problems=problems,
        smallest=by_area[0] if sizes else None,
        median=by_area[len(sizes) // 2] if sizes else None,
        largest=by_area[-1] if sizes else None,
        sizes=sizes,
        image_levels=_mean([inspection.image_levels for inspection in inspections]),
        mask_levels=_mean([inspection.mask_levels for inspection in inspections]),
    )
    readable = [
        pair
        for pair, inspection in zip(pairing.pairs, inspections, strict=True)
        if inspection.size and inspection.mask_levels is not None
    ]
    return report, readable


def inspect_pair(pair: ImageMaskPair) -> Inspection:
    """Decodes both files; their faults become `problems` instead of exceptions."""
    result = Inspection()
    try:
        image = read_rgb(str(pair.image))
    except (OSError, ValueError) as error:
        result.problems.append(('unreadable file(s)', _with_reason(pair.image, error)))
    else:
        result.size = image.shape[1], image.shape[0]
        result.image_levels = _level_shares(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    try:
        mask = read_image(str(pair.mask))
    except (OSError, ValueError) as error:
        result.problems.append(('unreadable file(s)', _with_reason(pair.mask, error)))
        return result
    try:
        alpha = to_alpha(mask)
    except ValueError as error:
        result.problems.append(('unusable mask(s)', _with_reason(pair.mask, error)))
        return result
    for path in (pair.image, pair.mask) if result.size else (pair.mask,):
        if has_more_frames(path):
            kind = 'file(s) of several frames or pages, the first of which is read'
            result.problems.append((kind, short_name(path)))
    name = short_name(pair.mask)
    result.mask_levels = _level_shares(cv2.convertScaleAbs(alpha, alpha=255))
    if result.size and mask.size != result.size:
        text = size_mismatch(pair, result.size, mask.size)
        result.problems.append((OTHER_SIZE, text))
    is_foreground = alpha > 0.5
    if 0 < (largest := alpha.max()) <= 0.5:
        text = f'{name} (largest level {round(255 * float(largest))} of 255)'
        result.problems.append(('faint mask(s)', text))
    if not is_foreground.any():
        result.problems.append(('mask(s) without foreground', name))
    elif is_foreground.all():
        result.problems.append(('mask(s) without background', name))
    if is_zero_and_one(mask):
        result.problems.append(
            ('mask(s) of 0 and 1 instead of 0 and 255, black for other software', name)
        )
    return result


def format_report(name: str, report: dict) -> str:
    """Returns a set's report as text: number of pairs, sizes, mask levels and problems."""
    lines = [f'{name}: {report["pairs"]} pairs']
    if report.get('sizes'):
        sizes = ['{}x{}'.format(*report[key]) for key in ('smallest', 'median', 'largest')]
        lines.append('  pixels: {}, median {}, to {}'.format(*sizes))
    if report.get('mask_levels'):
        lines.append('  mask levels (0 background, 255 foreground), % of the pixels:')
        levels = np.array(report['mask_levels'])
        for low in range(0, 256, 32):
            share = levels[low : low + 32].sum()
            bar = '#' * round(_BAR_LENGTH * share)
            lines.append(f'  {low:5}-{low + 31:<3} {100 * share:6.2f} {bar}')
    if report['problems']:
        lines += [f'  {line}' for line in summarise_problems(report['problems'], _LISTED_FILES)]
    else:
        lines.append('  nothing wrong')
    return '\n'.join(lines)


def draw_histograms(reports: dict[str, dict], path: Path) -> None:
    """Plots the levels of images and masks and the sizes of all sets to a file."""
    figure = Figure(figsize=(12, 3.5), layout='constrained')
    image_axes, mask_axes, size_axes = figure.subplots(1, 3)
    for name, report in reports.items():
        for axes, key in ((image_axes, 'image_levels'), (mask_axes, 'mask_levels')):
            if report.get(key):
                axes.plot(report[key], label=name)
        if report.get('sizes'):
            size_axes.scatter(*zip(*report['sizes'], strict=True), s=6, label=name)
    image_axes.set(title='image levels', xlabel='grey level', ylabel='share of pixels')
    mask_axes.set(title='mask levels', xlabel='level', ylabel='share of pixels', yscale='log')
    size_axes.set(title='sizes', xlabel='width', ylabel='height')
    if mask_axes.lines:
        mask_axes.legend()
    figure.savefig(path, dpi=120)


def draw_contact_sheet(pairs: list[ImageMaskPair], path: Path) -> None:
    """Draws some pairs, evenly spread over the sets, to a file."""
    chosen = [
        (pair.stem, read_rgb(str(pair.image)), to_alpha(read_image(str(pair.mask))))
        for pair in evenly_spaced(pairs, _SHEET_PAIRS)
    ]
    Image.fromarray(contact_sheet(chosen)).save(path, quality=92)


def _inspect_pairs(pairs: list[ImageMaskPair], title: str, workers: int) -> list[Inspection]:
    if workers == 1 or len(pairs) < 2:
        return [inspect_pair(pair) for pair in tqdm(pairs, desc=title, unit='pair')]
    with process_pool(workers) as pool:
        inspections = pool.map(inspect_pair, pairs, chunksize=4)
        return list(tqdm(inspections, total=len(pairs), desc=title, unit='pair'))


def _mean(levels: list[np.ndarray | None]) -> list[float] | None:
    levels = [level for level in levels if level is not None]
    return np.mean(levels, axis=0).tolist() if levels else None


def _level_shares(grey: np.ndarray) -> np.ndarray:
    return np.bincount(grey.ravel(), minlength=256) / grey.size


def _with_reason(path: Path, error: Exception) -> str:
    return f'{short_name(path)} ({error})'
