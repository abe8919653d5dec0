#!/usr/bin/env python
"""Converts a data set of real images to im/ and gt/, on which configs train:

    python tools/dataset_converters/to_dis.py KIND SOURCE --out DIR

SOURCE is the folder of the data set, or a JSON file of COCO's. By KIND, it holds

    clothing-co-parsing  photos/0001.jpg, annotations/pixel-level/0001.mat
    davis                JPEGImages/[480p/]SEQUENCE/00000.jpg, Annotations/[480p/]SEQUENCE/00000.png
    saliency             JPEGs and PNGs of the same names in one folder, or in two beside each other
                         (DUTS, ECSSD, HKU-IS, DUT-OMRON, MSRA10K, ...)
    oxford-pets          images/NAME_1.jpg, annotations/trimaps/NAME_1.png
    coco                 images and annotations (polygons or run lengths), the images beside it
    labelme              JSON files of labelme beside their images
    cutouts              images with an alpha channel, which are laid over --backgrounds

Everything that is labelled is foreground. Images are copied as they are. Pairs without foreground,
or whose files do not fit, are left out and listed. What is written is checked as by
check_dataset.py, and the terms of the data set are printed.
"""

import argparse
from pathlib import Path

# The package's own names, repeated because importing it takes seconds.
KINDS = (
    'clothing-co-parsing',
    'davis',
    'saliency',
    'oxford-pets',
    'coco',
    'labelme',
    'cutouts',
)
LISTED = 20  # names of each reason to leave them out


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('kind', choices=KINDS, metavar='KIND', help=', '.join(KINDS))
    add('source', type=Path, metavar='SOURCE', help='a folder, or a JSON file (coco)')
    add('--out', required=True, type=Path, metavar='DIR', help='folder for im/ and gt/')
    # Without defaults, to see which are given.
    options = parser.add_argument_group('options of some kinds', argument_default=argparse.SUPPRESS)
    add = options.add_argument
    add('--labels', nargs='+', help='coco, labelme: what is foreground (default: everything)')
    add('--backgrounds', type=Path, metavar='DIR', help='cutouts: folder of photographs')
    add('--copies', type=int, metavar='N', help='cutouts: images of each (default: 1)')
    add('--seed', type=int, help='cutouts: same seed, same images (default: 0)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Converts, checks and prints."""
    args = vars(parse_args(argv))
    source, out = args.pop('source'), args.pop('out')

    import inspect

    from mmdiffdis.cli import one_line_errors
    from mmdiffdis.datasets.converting import KINDS, convert
    from mmdiffdis.datasets.inspection import format_report, inspect_subset
    from mmdiffdis.datasets.pairing import summarise_problems
    from mmdiffdis.utils.parallel import available_cpus

    name = args.pop('kind')
    kind = KINDS[name]
    with one_line_errors((OSError, ValueError)):
        for option in args.keys() - inspect.signature(kind.samples).parameters:
            raise ValueError(f'--{option} has no effect on {name}: leave it out')
        written, left_out = convert(kind.samples(source, **args), out)
        for line in summarise_problems(left_out, LISTED):
            print(f'left out: {line}')
        if not written:
            raise ValueError(f"no pair of '{source}' can be used: expected {kind.layout}")
        report, _ = inspect_subset(out, out.name, min(available_cpus(), 8))
    print(format_report(str(out), report))
    print(f'terms of {name}: {kind.terms}')


if __name__ == '__main__':
    main()
