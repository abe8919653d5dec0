#!/usr/bin/env python
"""Predicts masks of pictures: python tools/predict.py CONFIG CKPT INPUT... --out DIR [--type ...]

Inputs are files, folders (every file directly inside, hidden ones aside) and glob patterns
(`**` searches sub-folders). Each result is written to `DIR/<stem>.png`, at the size of its picture
as a viewer shows it. Pictures of the same stem keep their whole file name in the result's, preceded
by the folder's if that is not enough. A file that cannot be read is reported at the end, and the
rest is done. Results of an earlier run are replaced, but nothing in a folder of the pictures is.

Exit code: 0 if everything was done, 1 if files were skipped or the command holds a mistake.
"""

import argparse
import glob
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mmdiffdis.apis import DISInferencer, DISResult
from mmdiffdis.launch import BUILD_ERRORS, RUN_ERRORS, one_line_errors
from mmdiffdis.visualization.panel import cutout, overlay, panel, to_grey

PICTURES: dict[str, Callable[[DISResult], np.ndarray]] = {
    'mask': lambda result: to_grey(result.mask),
    'cutout': lambda result: cutout(result.image, result.mask),
    'overlay': lambda result: overlay(result.image, result.mask),
    'edge': lambda result: to_grey(result.edge),
    'panel': lambda result: panel(result.image, mask=result.mask, edge=result.edge),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('input', nargs='+', help='files, folders or glob patterns')
    parser.add_argument('--out', required=True, type=Path, help='folder for the results')
    parser.add_argument(
        '--type', choices=PICTURES, default='mask', help='what to write (default: %(default)s)'
    )
    parser.add_argument('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    parser.add_argument('--seed', type=int, help="seed of the noise (default: the config's)")
    return parser.parse_args(argv)


def find_pictures(inputs: list[str]) -> list[Path]:
    """Files that the inputs stand for, in their order, each once.

    Raises:
        FileNotFoundError: if an input is neither a file, nor a folder, nor a pattern of files.
        ValueError: if a folder has no files.
    """
    found = {}
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = [file for file in path.iterdir() if file.is_file()]
            files = sorted(file for file in files if not file.name.startswith('.'))
            if not files:
                raise ValueError(f"the folder '{name}' has no files; sub-folders: '{name}/**/*'.")
        elif path.is_file():
            files = [path]
        else:
            files = sorted(Path(file) for file in glob.glob(name, recursive=True))
            files = [file for file in files if file.is_file()]
            if not files:
                raise FileNotFoundError(f"'{name}' is no file, no folder and matches no file.")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def name_results(pictures: list[Path], out: Path) -> list[Path]:
    """One path in `out` per picture, all different.

    Raises:
        ValueError: if even folder and file name are not enough to tell two pictures apart, or a
            result would replace a file beside the pictures.
    """
    namings = (
        lambda picture: picture.stem,
        lambda picture: picture.name,
        lambda picture: f'{picture.resolve().parent.name}_{picture.name}',
    )
    names: dict[Path, str] = {}
    for naming in namings:
        remaining = [picture for picture in pictures if picture not in names]
        # file systems that ignore case would take A.png for a.png
        candidates = Counter(naming(picture).casefold() for picture in remaining)
        taken = {name.casefold() for name in names.values()}
        for picture in remaining:
            name = naming(picture)
            if candidates[name.casefold()] == 1 and name.casefold() not in taken:
                names[picture] = name
    unnamed = [str(picture) for picture in pictures if picture not in names]
    if unnamed:
        raise ValueError(
            f'these have the same names as others and would replace their results: {unnamed[:4]}. '
            'Predict them in separate runs, each with its own --out.'
        )
    results = [out / f'{names[picture]}.png' for picture in pictures]
    # a file beside the pictures may be one of them, or another of the user's; never touch it
    folders = {picture.resolve().parent for picture in pictures}
    clashes = [path for path in results if path.parent.resolve() in folders and path.exists()]
    if clashes:
        raise ValueError(
            f"'{clashes[0]}' beside the pictures would be replaced; choose another --out."
        )
    return results


def main(argv: list[str] | None = None) -> int:
    """Predict and save; returns the exit code."""
    args = parse_args(argv)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        pictures = find_pictures(args.input)
        results = name_results(pictures, args.out)
        args.out.mkdir(parents=True, exist_ok=True)
        wants_edge = args.type in ('edge', 'panel')
        inferencer = DISInferencer(
            args.config, args.checkpoint, args.device, edge=wants_edge, seed=args.seed
        )
    skipped = []
    for picture, path in zip(tqdm(pictures, unit='picture'), results, strict=True):
        try:
            result = inferencer(picture)
            if args.type == 'edge' and result.edge is None:
                sys.exit(f'the model of {args.config} predicts no edges; choose another --type.')
            Image.fromarray(PICTURES[args.type](result)).save(path)
        except (OSError, ValueError, torch.OutOfMemoryError) as error:
            skipped.append(f'{picture}: {error}')

    print(f'{len(pictures) - len(skipped)} of {len(pictures)} written to {args.out}')
    for line in skipped:
        print(f'skipped {line}', file=sys.stderr)
    return 1 if skipped else 0


if __name__ == '__main__':
    sys.exit(main())
