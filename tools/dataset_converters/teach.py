#!/usr/bin/env python
"""Makes training pairs of photographs by the masks of a trained model, the teacher:

    python tools/dataset_converters/teach.py CONFIG CKPT PHOTOGRAPH... --out DIR [--gt DIR]

CONFIG and CKPT are those of predict.py, e.g. `u2netp u2netp`; photographs are files, folders and
glob patterns. DIR gets im/ and gt/ with those whose soft mask agrees with the one of the same name
in --gt, drawn by hand or by another model, by an intersection over union of at least --iou; of
photographs without one, those about which the teacher is sure. Sureness is the share of the pixels
above 1/4 that are above 3/4 as well. DIR/verdicts.csv lists all photographs, 1 for kept, and
the number that decided. Stopped at any time, the same command goes on.

Exit code: 0 if every photograph was judged, 1 if one could not be read.
"""

import argparse
import sys
from pathlib import Path

LISTED = 20  # rejected photographs


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', metavar='CONFIG', help='file, name in configs/ or name of a shipped model')
    add('checkpoint', metavar='CKPT', help='file, URL or name of a shipped model')
    add('photographs', nargs='+', metavar='PHOTOGRAPH', help='files, folders or glob patterns')
    add('--out', required=True, type=Path, metavar='DIR', help='folder for im/ and gt/')
    add('--gt', type=Path, metavar='DIR', help='masks to agree with (optional)')
    add('--iou', type=float, default=0.8, help='least agreement with --gt (default: %(default)s)')
    add('--sure', type=float, default=0.9, help='least sureness (default: %(default)s)')
    add('--batch-size', type=int, default=1, help='number of photographs at once')
    add('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Predicts, judges and writes; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.apis import DISInferencer
    from mmdiffdis.apis.predicting import hash_weights
    from mmdiffdis.apis.teaching import teach
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.files import check_writable, printable, refuse_folder_of_inputs
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        refuse_folder_of_inputs(args.out, map(Path, args.photographs))
        keep_freed_memory()
        inferencer = DISInferencer(args.config, args.checkpoint, args.device)
        check_writable(args.out / 'settings.json')
        verdicts, skipped = teach(
            inferencer,
            args.photographs,
            args.out,
            args.gt,
            args.iou,
            args.sure,
            args.batch_size,
            {'config': args.config, 'weights': hash_weights(inferencer.model)},
        )
    rejected = [verdict for verdict in verdicts if not verdict.is_kept]
    print(f'{len(verdicts) - len(rejected)} of {len(verdicts)} kept in {args.out}')
    if rejected:
        print(f'{len(rejected)} rejected:')
        for verdict in rejected[:LISTED]:
            print(f'  {printable(verdict.photograph)}: {verdict.reason}')
        if len(rejected) > LISTED:
            print(f'  and {len(rejected) - LISTED} more, in {args.out / "verdicts.csv"}')
    for line in skipped:
        print(f'skipped {printable(line)}', file=sys.stderr)
    return 1 if skipped else 0


if __name__ == '__main__':
    sys.exit(main())
