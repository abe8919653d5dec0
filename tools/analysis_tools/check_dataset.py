#!/usr/bin/env python
"""Reads every image and mask of a data set and lists what is wrong with them:

    python tools/analysis_tools/check_dataset.py FOLDER [--out DIR] [--workers N]

FOLDER contains im/ and gt/ (or image(s)/, img(s)/ and gts/, mask(s)/, label(s)/), or folders that
do, such as DIS5K's. Listed are images and masks without a partner, stems that occur twice,
sub-folders and images that are passed over, files that are empty, cannot be decoded or have several
frames, masks of another size than their image (EXIF orientation applied), and masks that cannot be
used (coloured, class indices), are faint (no level above half), have no foreground or no
background, or consist of 0 and 1 instead of 0 and 255. The latter four may be intended and can be
trained on.

Sizes and a histogram of mask levels are printed as well. `DIR` gets `report.json` with the complete
lists, `histograms.png` and `contact_sheet.jpg`.

Exit code: 0 if nothing is wrong, 1 if anything is listed.
"""

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, metavar='FOLDER', help='a set, or a folder of sets')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder of the report (optional)')
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        metavar='N',
        help='processes (default: one per available CPU, at most 8)',
    )
    args = parser.parse_args(argv)
    if args.workers < 0:
        parser.error(f'--workers {args.workers}: expected 1 or more')
    return args


def main(argv: list[str] | None = None) -> int:
    """Checks, prints and writes; returns the exit code."""
    args = parse_args(argv)

    from mmdiffdis.cli import one_line_errors
    from mmdiffdis.datasets.inspection import (
        draw_contact_sheet,
        draw_histograms,
        find_subsets,
        format_report,
        inspect_subset,
    )
    from mmdiffdis.utils.files import check_writable, refuse_folder_of_inputs, save_json
    from mmdiffdis.utils.parallel import available_cpus

    with one_line_errors((OSError, ValueError)):
        subsets = find_subsets(args.folder)
        if args.out:
            folders = [path for subset in subsets.values() for path in subset.iterdir()]
            refuse_folder_of_inputs(args.out, folders)
            check_writable(args.out / 'report.json')
    workers = args.workers or min(available_cpus(), 8)
    reports, readable = {}, []
    with one_line_errors():
        for name, folder in subsets.items():
            reports[name], pairs = inspect_subset(folder, name, workers)
            readable += pairs
            print(format_report(name, reports[name]), flush=True)
        if args.out:
            save_json(dict(folder=str(args.folder), subsets=reports), args.out / 'report.json')
            draw_histograms(reports, args.out / 'histograms.png')
            if readable:
                draw_contact_sheet(readable, args.out / 'contact_sheet.jpg')
            print(f'report.json, histograms.png and contact_sheet.jpg in {args.out}')
    return int(any(report['problems'] for report in reports.values()))


if __name__ == '__main__':
    sys.exit(main())
