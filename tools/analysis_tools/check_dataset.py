#!/usr/bin/env python
"""Reads every image and mask of a data set and lists what is wrong with them:

    python tools/analysis_tools/check_dataset.py FOLDER [--out DIR] [--workers N]

FOLDER holds im/ and gt/ (or their aliases), or folders that do, such as DIS5K's. Listed are images
and masks without a partner, stems that occur twice, files that are empty or cannot be decoded,
masks of another size than their image (EXIF orientation honoured), masks that cannot be used
(coloured, class indices), have no foreground or no background, or are made of 0 and 1 instead of 0
and 255. The latter three may be intended and train all the same.

Printed are also the sizes and a histogram of mask levels. `DIR` gets `report.json` with the
complete lists, `histograms.png` and `contact_sheet.jpg`.

Exit code: 0 if nothing is wrong, 1 if anything is listed.
"""

import argparse
import os
import sys
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from mmdiffdis.cli import one_line_errors
from mmdiffdis.datasets.inspection import Inspection, find_subsets, inspect_pair
from mmdiffdis.datasets.pairing import Pair, find_pairs, report
from mmdiffdis.images import contact_sheet
from mmdiffdis.images.panels import spread
from mmdiffdis.images.reading import read_image, read_rgb
from mmdiffdis.images.values import to_alpha
from mmdiffdis.utils.files import save_json
from mmdiffdis.utils.parallel import process_pool

SHEET_PAIRS = 48
LISTED = 20  # files of each kind, on the screen
BAR = 40  # characters


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, metavar='FOLDER')
    parser.add_argument('--out', type=Path, metavar='DIR')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: up to 8)')
    return parser.parse_args(argv)


def inspect_all(pairs: list[Pair], workers: int, title: str) -> list[Inspection]:
    """``inspect_pair`` of each, in their order, under a progress bar."""
    if workers == 1 or len(pairs) < 2:
        return [inspect_pair(pair) for pair in tqdm(pairs, desc=title, unit='pair')]
    with process_pool(workers) as pool:
        found = pool.map(inspect_pair, pairs, chunksize=4)
        return list(tqdm(found, total=len(pairs), desc=title, unit='pair'))


def check(folder: Path, name: str, workers: int) -> tuple[dict, list[Pair]]:
    """The report of one set, ready for JSON, and its pairs without problems."""
    try:
        pairing = find_pairs(folder)
    except FileNotFoundError as error:
        return dict(pairs=0, problems={'missing folder(s)': [str(error)]}), []
    inspections = inspect_all(pairing.pairs, workers, name)
    problems = dict(pairing.problems)
    # pairing has seen the empty ones, which cannot be read either
    for inspection in inspections:
        for kind, text in inspection.problems:
            if 'the file is empty' not in text:
                problems[kind] = [*problems.get(kind, []), text]
    sizes = [inspection.size for inspection in inspections if inspection.size]
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    result = dict(
        pairs=len(pairing.pairs),
        problems=problems,
        smallest=by_area[0] if sizes else None,
        median=by_area[len(sizes) // 2] if sizes else None,
        largest=by_area[-1] if sizes else None,
        sizes=sizes,
        image_levels=_mean([i.image_levels for i in inspections]),
        mask_levels=_mean([i.mask_levels for i in inspections]),
    )
    drawable = [
        pair
        for pair, i in zip(pairing.pairs, inspections, strict=True)
        if i.size and i.mask_levels is not None
    ]
    return result, drawable


def _mean(levels: list[np.ndarray | None]) -> list[float] | None:
    levels = [level for level in levels if level is not None]
    return np.mean(levels, axis=0).tolist() if levels else None


def to_text(name: str, result: dict) -> str:
    """What is printed about one set."""
    lines = [f'{name}: {result["pairs"]} pairs']
    if result.get('sizes'):
        sizes = ['{}x{}'.format(*result[key]) for key in ('smallest', 'median', 'largest')]
        lines.append('  pixels: {}, median {}, to {}'.format(*sizes))
    if result.get('mask_levels'):
        lines.append('  mask levels (0 background, 255 foreground), % of the pixels:')
        levels = np.array(result['mask_levels'])
        for low in range(0, 256, 32):
            share = levels[low : low + 32].sum()
            lines.append(f'  {low:5}-{low + 31:<3} {100 * share:6.2f} {"#" * round(BAR * share)}')
    if result['problems']:
        lines += [f'  {line}' for line in report(result['problems'], show=LISTED)]
    else:
        lines.append('  nothing wrong')
    return '\n'.join(lines)


def draw_histograms(results: dict[str, dict], path: Path) -> None:
    """Levels of images and masks, and sizes, of all sets."""
    figure = Figure(figsize=(12, 3.5), layout='constrained')
    image_axes, mask_axes, size_axes = figure.subplots(1, 3)
    for name, result in results.items():
        for axes, key in ((image_axes, 'image_levels'), (mask_axes, 'mask_levels')):
            if result.get(key):
                axes.plot(result[key], label=name)
        if result.get('sizes'):
            size_axes.scatter(*zip(*result['sizes'], strict=True), s=6, label=name)
    image_axes.set(title='image levels', xlabel='grey level', ylabel='share of pixels')
    mask_axes.set(title='mask levels', xlabel='level', ylabel='share of pixels', yscale='log')
    size_axes.set(title='sizes', xlabel='width', ylabel='height')
    if mask_axes.lines:
        mask_axes.legend()
    figure.savefig(path, dpi=120)


def draw_sheet(pairs: list[Pair], path: Path) -> None:
    """Some pairs, evenly spread over the sets."""
    chosen = [
        (pair.stem, read_rgb(str(pair.image)), to_alpha(read_image(str(pair.truth))))
        for pair in spread(pairs, SHEET_PAIRS)
    ]
    Image.fromarray(contact_sheet(chosen)).save(path, quality=92)


def main(argv: list[str] | None = None) -> int:
    """Checks, prints and writes; returns the exit code."""
    args = parse_args(argv)
    workers = args.workers or min(os.cpu_count() or 1, 8)
    results, drawable = {}, []
    with one_line_errors((FileNotFoundError, FileExistsError, ValueError)):
        if workers < 1:
            raise ValueError(f'--workers {workers}: expected 1 or more.')
        subsets = find_subsets(args.folder)
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
    for name, folder in subsets.items():
        results[name], good = check(folder, name, workers)
        drawable += good
        print(to_text(name, results[name]), flush=True)
    if args.out:
        written = dict(folder=str(args.folder), subsets=results)
        save_json(written, args.out / 'report.json')
        draw_histograms(results, args.out / 'histograms.png')
        if drawable:
            draw_sheet(drawable, args.out / 'contact_sheet.jpg')
        print(f'report.json, histograms.png and contact_sheet.jpg in {args.out}')
    return int(any(result['problems'] for result in results.values()))


if __name__ == '__main__':
    sys.exit(main())
