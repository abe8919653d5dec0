"""Draws a synthetic set for dichotomous image segmentation in DIS5K's layout."""

import argparse


def parse_args() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', required=True, help='folder for DIS-TR, DIS-VD, contact_sheet.jpg')
    parser.add_argument('--num-train', type=int, required=True, help='number of training images')
    parser.add_argument('--num-val', type=int, required=True, help='number of validation images')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same files')
    parser.add_argument(
        '--size', type=int, nargs='+', default=[256], metavar='PIXELS', help='side, or height width'
    )
    parser.add_argument(
        '--workers', type=int, help='processes (default: one per available CPU, at most 8)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the set in --out')
    args = parser.parse_args()
    if len(args.size) > 2:
        parser.error(f'--size {args.size}: expected a side, or a height and a width')
    return args


def main() -> None:
    """Draws the set; reports mistakes in one line."""
    args = parse_args()

    from mmdiffdis.cli import one_line_errors
    from mmdiffdis.synthetic import write_dataset

    with one_line_errors((ValueError, OSError)):
        out = write_dataset(
            args.out,
            args.num_train,
            args.num_val,
            args.seed,
            size=(args.size[0], args.size[-1]),
            workers=args.workers,
            overwrite=args.overwrite,
        )
    print(f'{args.num_train} training and {args.num_val} validation pairs in {out}')


if __name__ == '__main__':
    main()
