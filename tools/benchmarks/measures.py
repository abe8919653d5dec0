#!/usr/bin/env python
"""How much faster masks are measured than by PySODMetrics, and what more processes bring:

    python tools/benchmarks/measures.py [--side 2048] [--masks 3] [--rounds 5]
        [--workers 1 2] [--pairs 32]

Masks are drawn; predictions are these masks, shifted, blurred and with noise, in 8 bits. Both
measure them by turns in one process with one thread; times are the process's own, summed over the
masks, and one ratio is taken in each round.

Then tools/analysis_tools/eval_masks.py scores a folder of `--pairs` by all measures with each
number of workers; these are seconds by the clock, its start of some seconds included, so take many.
Let nothing run beside it.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import cv2
import numpy as np
import py_sod_metrics as library
from tqdm import tqdm, trange

from mmdiffdis.evaluation import measure_image
from mmdiffdis.synthetic import draw_sample
from mmdiffdis.utils.tables import markdown

EVAL_MASKS = Path(__file__).parents[1] / 'analysis_tools/eval_masks.py'


def f_measure() -> library.FmeasureV2:
    """F with its curve, and what is counted of binary masks, in one pass."""
    binary = dict(with_dynamic=False, with_adaptive=False, with_binary=True)
    return library.FmeasureV2(
        {
            'F': library.FmeasureHandler(True, True, beta=0.3),
            'IoU': library.IOUHandler(**binary),
            'Dice': library.DICEHandler(**binary),
            'BER': library.BERHandler(**binary),
            'Acc': library.OverallAccuracyHandler(**binary),
        }
    )


OF_COUNTS = ['maxF', 'meanF', 'adpF', 'maxE', 'E', 'adpE', 'IoU', 'Dice', 'BER', 'Acc']
# What -> this project's names, and PySODMetrics' classes.
GROUPS = {
    'F, E, IoU, Dice, BER, accuracy': (OF_COUNTS, [f_measure, library.Emeasure]),
    'wF': (['wF'], [library.WeightedFmeasure]),
    'S': (['S'], [library.Smeasure]),
    'MAE': (['MAE'], [library.MAE]),
    'all of these': (
        [*OF_COUNTS, 'wF', 'S', 'MAE'],
        [f_measure, library.Emeasure, library.WeightedFmeasure, library.Smeasure, library.MAE],
    ),
    'HCE': (['HCE'], [library.HumanCorrectionEffortMeasure]),
}


def draw_pair(index: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and the true mask, both uint8 [side, side]."""
    mask = draw_sample(0, 'DIS-TR', index, side, side).mask
    moved = np.roll(cv2.GaussianBlur(mask, (0, 0), side / 500), side // 400, axis=1)
    noise = np.random.RandomState(index).normal(scale=12, size=(side // 8, side // 8))
    noise = cv2.resize(noise, (side, side))
    return np.clip(moved + noise, 0, 255).astype(np.uint8), mask


def measure_by_library(classes: list[Callable], prediction: np.ndarray, truth: np.ndarray) -> None:
    """Everything that PySODMetrics does for one image."""
    for create in classes:
        measure = create()
        measure.step(prediction, truth, normalize=False)
        measure.get_results()


def seconds_of(function: Callable, pairs: list[tuple]) -> float:
    """Time of the process for all pairs."""
    start = time.process_time()
    for pair in pairs:
        function(*pair)
    return time.process_time() - start


def compare(pairs: list[tuple], rounds: int) -> str:
    """A table of both times and their ratio."""
    pairs = [(prediction / 255, mask > 127) for prediction, mask in pairs]
    times = {name: [] for name in GROUPS}
    for _ in trange(rounds, desc='rounds'):
        for name, (measures, classes) in GROUPS.items():
            ours = seconds_of(partial(measure_image, measures=measures), pairs)
            theirs = seconds_of(partial(measure_by_library, classes), pairs)
            times[name].append((theirs / len(pairs), ours / len(pairs)))
    rows = []
    for name, of in times.items():
        theirs, ours = (statistics.median(column) for column in zip(*of, strict=True))
        ratios = [a / b for a, b in of]
        row = [f'{theirs:.3f}', f'{ours:.3f}', f'{statistics.median(ratios):.1f}']
        rows.append([name, *row, f'{min(ratios):.1f} - {max(ratios):.1f}'])
    header = ['measures', 'PySODMetrics, s/image', 'ours, s/image', 'times faster', 'in the rounds']
    return markdown(header, rows)


def scale(pairs: list[tuple], count: int, workers: list[int]) -> str:
    """A table of the seconds that eval_masks.py takes."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ('prediction', 'truth'):
            (root / name).mkdir()
        for index in range(count):
            prediction, mask = pairs[index % len(pairs)]
            cv2.imwrite(str(root / f'prediction/{index}.png'), prediction)
            cv2.imwrite(str(root / f'truth/{index}.png'), mask)
        for number in tqdm(workers, desc='workers'):
            command = [sys.executable, str(EVAL_MASKS), '--pred', str(root / 'prediction')]
            command += ['--gt', str(root / 'truth'), '--out', str(root / f'{number}.json')]
            command += ['--metrics', 'all', '--workers', str(number)]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    rows = [
        [number, count, f'{one:.1f}', f'{seconds[0] / one:.2f}']
        for number, one in zip(workers, seconds, strict=True)
    ]
    return markdown(['workers', 'pairs', 'seconds', 'times faster'], rows)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--side', type=int, default=2048, metavar='PIXELS')
    parser.add_argument('--masks', type=int, default=3, metavar='N', help='different ones')
    parser.add_argument('--rounds', type=int, default=5, metavar='N')
    parser.add_argument('--workers', nargs='*', type=int, default=[1, 2], metavar='N')
    parser.add_argument('--pairs', type=int, default=32, metavar='N', help='for the workers')
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    warnings.simplefilter('ignore')  # PySODMetrics' means of empty regions
    pairs = [draw_pair(index, args.side) for index in range(args.masks)]
    print(compare(pairs, args.rounds))
    if args.workers:
        print()
        print(scale(pairs, args.pairs, args.workers))


if __name__ == '__main__':
    main()
