#!/usr/bin/env python
"""Prints how much each setting of the protocol changes each metric, on synthetic masks:

    python tools/analysis_tools/protocol_effects.py [--num 24] [--size 512] [--measures ...]

Predictions are synthetic masks at half size, blurred, with less contrast and low-frequency noise,
about as soft as a segmentor's. The table, in Markdown, changes one setting at a time.
"""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SPLIT = 'DIS-VD'
# Name -> protocol and resize rule. The others are compared with the first.
VARIANTS = {
    'soft, bilinear': ('soft', 'bilinear'),
    'resized by nearest': ('soft', 'nearest'),
    'resized by bicubic': ('soft', 'bicubic'),
    'not in 8 bits': ({'quantise': False}, 'bilinear'),
    'min-max stretched (`pysodmetrics`)': ('pysodmetrics', 'bilinear'),
    'binarised at 0.5 (`binary`)': ('binary', 'bilinear'),
    'binarised at 0.3': ({'binarise': 0.3}, 'bilinear'),
    'both (`diffdis`)': ('diffdis', 'bilinear'),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--num', type=int, default=24, help='number of masks')
    parser.add_argument('--size', type=int, default=512, help='side of the masks, in pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--measures', nargs='+', metavar='NAME', help='metrics (default: all)')
    return parser.parse_args(argv)


def imitate_segmentor(gt: 'np.ndarray', rng: 'np.random.Generator') -> 'np.ndarray':
    """Returns a soft prediction, float32 [H/2, W/2] in [0, 1], of a mask [H, W]."""
    import cv2
    import numpy as np

    size = gt.shape[1] // 2, gt.shape[0] // 2
    small = cv2.resize(gt.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), 1.5)
    noise = cv2.GaussianBlur(rng.normal(0, 1, small.shape).astype(np.float32), (0, 0), 8)
    low, high = rng.uniform(0, 0.05), rng.uniform(0.7, 1)
    return np.clip(low + (high - low) * blurred + 0.04 * noise / noise.std(), 0, 1) * 0.98


def score_variants(args: argparse.Namespace) -> str:
    """Scores all variants and returns the table."""
    import numpy as np
    from tqdm import tqdm

    from mmdiffdis.evaluation import (
        MEASURES,
        Scores,
        apply_protocol,
        check_measures,
        measure_image,
        resolve_protocol,
    )
    from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD, resize_prediction
    from mmdiffdis.synthetic.scene import draw_sample
    from mmdiffdis.utils.tables import markdown

    measures = check_measures(args.measures or list(MEASURES))
    rng = np.random.default_rng(args.seed)
    totals = {name: Scores() for name in VARIANTS}
    for index in tqdm(range(args.num), unit='mask'):
        gt = draw_sample(args.seed, SPLIT, index, args.size, args.size).mask / 255
        prediction, gt = imitate_segmentor(gt, rng), gt > TRUTH_THRESHOLD
        for name, (protocol, rule) in VARIANTS.items():
            _, settings = resolve_protocol(protocol)
            resized = resize_prediction(prediction, gt.shape, rule)
            values = measure_image(apply_protocol(resized, **settings), gt, measures)
            totals[name].add(values)
    scores = {name: total.compute() for name, total in totals.items()}
    first, *others = VARIANTS
    cells = [[first, '', *(f'{score:.4f}' for score in scores[first].values())]]
    for name in others:
        changes = (scores[name][metric] - scores[first][metric] for metric in measures)
        cells.append([name, 'change', *(f'{change:+.4f}' for change in changes)])
    return markdown(['protocol', '', *measures], cells)


def main(argv: list[str] | None = None) -> None:
    """Prints the table."""
    args = parse_args(argv)
    from mmdiffdis.cli import one_line_errors

    with one_line_errors():
        table = score_variants(args)
    print(f'{args.num} masks of {args.size}x{args.size}, seed {args.seed}:\n\n{table}')


if __name__ == '__main__':
    main()
