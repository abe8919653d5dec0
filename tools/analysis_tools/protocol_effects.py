#!/usr/bin/env python
"""By how much each knob of the protocol moves each measure, on drawn masks:

    python tools/analysis_tools/protocol_effects.py [--num 24] [--size 512] [--measures ...]

Predictions are drawn masks at half size, blurred, of less contrast and with noise in patches, as
soft as those of a segmentor; a table in Markdown says what one change of the protocol at a time
does to the figures.
"""

import argparse

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import cv2
import numpy as np
from tqdm import tqdm

from mmdiffdis.evaluation import MEASURES, Scores, apply_protocol, measure_image, resolve_protocol
from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD, resize_prediction
from mmdiffdis.synthetic.scene import draw_sample
from mmdiffdis.utils.tables import markdown

SPLIT = 'DIS-VD'
# Name -> protocol and resize rule. The first is what the others differ from.
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


def parse_args() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--num', type=int, default=24, help='masks')
    parser.add_argument('--size', type=int, default=512, help='their side, in pixels')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--measures', nargs='+', choices=MEASURES, default=list(MEASURES))
    return parser.parse_args()


def imitate(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 [H/2, W/2] in [0, 1]: what a soft segmentor might make of the truth [H, W]."""
    size = truth.shape[1] // 2, truth.shape[0] // 2
    small = cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), 1.5)
    patches = cv2.GaussianBlur(rng.normal(0, 1, small.shape).astype(np.float32), (0, 0), 8)
    low, high = rng.uniform(0, 0.05), rng.uniform(0.7, 1)
    return np.clip(low + (high - low) * blurred + 0.04 * patches / patches.std(), 0, 1) * 0.98


def main() -> None:
    """Scores all variants and prints the table."""
    args = parse_args()
    rng = np.random.default_rng(args.seed)
    scores = {name: Scores() for name in VARIANTS}
    for index in tqdm(range(args.num), unit='mask'):
        truth = draw_sample(args.seed, SPLIT, index, args.size, args.size).mask / 255
        prediction, truth = imitate(truth, rng), truth > TRUTH_THRESHOLD
        for name, (protocol, rule) in VARIANTS.items():
            _, settings = resolve_protocol(protocol)
            resized = resize_prediction(prediction, truth.shape, rule)
            values = measure_image(apply_protocol(resized, **settings), truth, args.measures)
            scores[name].add(values)
    figures = {name: each.figures() for name, each in scores.items()}
    base, *others = VARIANTS
    cells = [[base, '', *(f'{figures[base][measure]:.4f}' for measure in args.measures)]]
    for name in others:
        changes = (figures[name][measure] - figures[base][measure] for measure in args.measures)
        cells.append([name, 'change', *(f'{change:+.4f}' for change in changes)])
    print(f'{args.num} masks of {args.size}x{args.size}, seed {args.seed}:\n')
    print(markdown(['protocol', '', *args.measures], cells))


if __name__ == '__main__':
    main()
