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
import sys
from collections.abc import Callable
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mmdiffdis.apis import DISInferencer, DISResult, find_pictures, name_results
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
