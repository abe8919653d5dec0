#!/usr/bin/env python
"""Scores folders of masks, of any model, against a folder of ground truth:

    python tools/analysis_tools/eval_masks.py --pred DIR [NAME=DIR ...] --gt DIR --out FILE.json
        [--metrics maxF wF E S MAE | all] [--protocol soft|binary|pysodmetrics|diffdis]
        [--workers N]

Masks and ground truth are paired by file stem; suffixes may differ. Besides FILE.json, a folder
FILE/ gets table.md, table.csv and table.tex (best scores in bold), curves.png (precision-recall and
F-measure) and, for each model, per_image.csv, histograms.csv (pixels of each level in the
foreground, f, and background, b, of the ground truth) and worst.jpg (and worst_2.jpg, ..., if it
is full). In per_image.csv, maxF and maxE are the largest of the image; those of the set are the
largest of the mean curve.

Results are written image by image. The command may be stopped at any time; started again with the
same settings, it scores only images that are missing or have changed. Of two commands with the
same --out, the second is refused while the first runs.

If masks are missing, superfluous or of another size, they are listed and nothing is scored, unless
--missing, --extra and --resize say how to handle them; the results record it. Unreadable files are
listed at the end.

Exit code: 0 if everything was scored, 1 if not, 130 if it was interrupted (Ctrl-C).
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmdiffdis.evaluation.folders import MaskPair, Settings

# The names in mmdiffdis.evaluation, which takes seconds to import.
METRICS = ['maxF', 'wF', 'E', 'S', 'MAE', 'meanF', 'adpF', 'maxE', 'adpE']
METRICS += ['IoU', 'Dice', 'BER', 'Acc', 'BIoU', 'HCE']
PROTOCOLS = ['soft', 'binary', 'pysodmetrics', 'diffdis']
RESIZE_RULES = ['nearest', 'bilinear', 'bicubic']

WAYS_OUT = {
    'duplicate': 'remove all but one of each',
    'missing': '--missing skip|empty',
    'extra': '--extra skip',
    'size': f'--resize {"|".join(RESIZE_RULES)}',
    'unreadable': 'replace them, or --missing skip|empty',
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pred', nargs='+', required=True, metavar='[NAME=]DIR')
    parser.add_argument('--gt', required=True, type=Path, metavar='DIR')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.json')
    parser.add_argument('--metrics', nargs='+', choices=[*METRICS, 'all'], default=METRICS[:5])
    parser.add_argument('--protocol', choices=PROTOCOLS, default='soft')
    parser.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='processes (default: one per available CPU)',
    )
    parser.add_argument(
        '--resize', choices=RESIZE_RULES, help="resize masks of another size to the ground truth's"
    )
    parser.add_argument(
        '--missing',
        choices=('skip', 'empty'),
        help='ground truths without a readable mask: skip them, or score them as empty masks',
    )
    parser.add_argument('--extra', choices=('skip',), help='skip masks without a ground truth')
    parser.add_argument(
        '--full-scale', type=int, metavar='N', help='grey level of masks that means foreground'
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='images, for worst.jpg')
    parser.add_argument('--worst', type=int, default=8, metavar='N', help='rows of worst.jpg')
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f'--workers {args.workers}: expected 1 or more')
    if args.full_scale is not None and args.full_scale < 1:
        parser.error(f'--full-scale {args.full_scale}: expected 1 or more')
    if args.worst < 0:
        parser.error(f'--worst {args.worst}: expected 0 or more')
    return args


def named_folders(arguments: list[str]) -> dict[str, Path]:
    """Returns the folders of `--pred` by name, by default the name of the folder.

    Raises:
        NotADirectoryError: If a folder does not exist.
        ValueError: If two have the same name, or a name cannot be that of a folder.
    """
    folders = {}
    for argument in arguments:
        name, equals, folder = argument.partition('=')
        if not equals or Path(argument).is_dir():
            name, folder = Path(argument).resolve().name, argument
        if name in ('', '.', '..', *folders) or '/' in name or os.sep in name:
            raise ValueError(f'--pred {argument}: expected a name of its own, NAME={folder}')
        if not Path(folder).is_dir():
            raise NotADirectoryError(f'--pred {folder} is no folder')
        folders[name] = Path(folder)
    return folders


def check_out(out: Path, folders: dict[str, Path], others: list[Path]) -> None:
    """Refuses an --out whose results would lie among masks, ground truth or images.

    Args:
        out: The JSON file.
        folders: Folders of masks by the names of their models.
        others: Folders of ground truth and images.

    Raises:
        ValueError: If the folder beside `out`, or that of a model in it, is one of them.
    """
    results = out.with_suffix('')
    for folder in (results, *(results / name for name in folders)):
        for inputs in (*folders.values(), *others):
            if folder.is_dir() and folder.samefile(inputs):
                raise ValueError(
                    f'--out {out}: results would be written into {inputs}, which holds inputs: '
                    'choose another --out, or another NAME in --pred NAME=DIR'
                )


def score(args: argparse.Namespace) -> int:
    """Checks the arguments and the folders, and scores them; returns the exit code."""
    from mmdiffdis.evaluation.folders import Settings, pair_masks
    from mmdiffdis.evaluation.report import describe_problems
    from mmdiffdis.utils.files import check_writable, lock_folder

    metrics = METRICS if 'all' in args.metrics else dict.fromkeys(args.metrics)
    settings = Settings(args.protocol, (*metrics,), args.resize, args.missing, args.full_scale)
    if args.out.suffix != '.json':
        raise ValueError(f'--out {args.out}: expected the name of a .json file')
    others = [folder for folder in (args.gt, args.images) if folder]
    for folder in others:
        if not folder.is_dir():
            raise NotADirectoryError(f'{folder} is no folder')
    folders = named_folders(args.pred)
    check_out(args.out, folders, others)
    pairs, problems = {}, {}
    for name, folder in folders.items():
        pairs[name], problems[name] = pair_masks(folder, args.gt)

    handled = {'missing': args.missing, 'extra': args.extra, 'size': args.resize}
    unhandled = {
        name: {kind: items for kind, items in kinds.items() if not handled.get(kind)}
        for name, kinds in problems.items()
    }
    if any(unhandled.values()):
        print(f'nothing was scored:\n{describe_problems(unhandled, WAYS_OUT)}', file=sys.stderr)
        return 1

    check_writable(args.out, args.out.with_suffix('') / 'table.md')
    with lock_folder(args.out.with_suffix('')):
        return score_folders(args, folders, settings, pairs, problems)


def score_folders(
    args: argparse.Namespace,
    folders: dict[str, Path],
    settings: 'Settings',
    pairs: dict[str, list['MaskPair']],
    problems: dict[str, dict[str, list[str]]],
) -> int:
    """Scores folders of masks, writes and prints the report; returns the exit code.

    Args:
        args: Arguments of the command line.
        folders: Folders by the names of their models.
        settings: Settings of the scores.
        pairs: Masks and ground truths of each model.
        problems: Problems of each model that options handle; unreadable files are added.
    """
    from mmdiffdis.evaluation.folders import Store, score_folder
    from mmdiffdis.evaluation.report import describe_problems, save_worst, write_report
    from mmdiffdis.utils.parallel import available_cpus

    results = args.out.with_suffix('')
    stores = {name: Store(results / name, settings) for name in folders}
    unreadable = {}
    for name, store in stores.items():
        if args.missing == 'skip':
            pairs[name] = [pair for pair in pairs[name] if pair.prediction]
        try:
            failed = score_folder(pairs[name], settings, store, args.workers or available_cpus())
        except KeyboardInterrupt:
            print('\ninterrupted; the same command goes on from here', file=sys.stderr)
            return 128 + signal.SIGINT  # the convention of shells
        if failed:
            problems[name]['unreadable'] = failed
            unreadable[name] = {'unreadable': failed}
    if unreadable and args.missing != 'skip':
        text = describe_problems(unreadable, WAYS_OUT)
        print(f'not everything was scored:\n{text}', file=sys.stderr)
        return 1

    table = write_report(args.out, args.gt, folders, stores, problems, settings)
    if any(problems.values()):
        options = {'missing': args.missing, 'extra': args.extra, 'resize': args.resize}
        text = ' '.join(f'--{name} {value}' for name, value in options.items() if value)
        print(f'scored with {text}:\n{describe_problems(problems)}\n')
    print(f'{table}\nwritten to {args.out} and {results}', flush=True)
    for name, store in stores.items():
        for text in save_worst(pairs[name], store, settings, args.images, args.worst):
            print(f'{name}: left out of worst.jpg: {text}', file=sys.stderr)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and scores; returns the exit code."""
    args = parse_args(argv)
    from mmdiffdis.cli import one_line_errors

    with one_line_errors():
        return score(args)


if __name__ == '__main__':
    sys.exit(main())
