#!/usr/bin/env python
"""Compares the speed of the metrics with PySODMetrics, and of different numbers of processes:

    python tools/benchmarks/measures.py [--side 2048] [--masks 3] [--rounds 5]
        [--workers 1 2] [--pairs 32]

Masks are synthetic; predictions are these masks, shifted, blurred and with noise, in 8 bits. Both
implementations alternate in one process with one thread. Times are process times, and one ratio is
taken per round.

Then tools/analysis_tools/eval_masks.py scores a folder of `--pairs` masks by all metrics with each
number of workers. These are wall-clock seconds that include several seconds of start-up, so take
many masks. Nothing else should run on the machine.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

EVAL_MASKS = Path(__file__).parents[1] / 'analysis_tools/eval_masks.py'


def groups() -> dict[str, tuple[list[str], list[Callable]]]:
    """Returns, by group, our names of metrics and PySODMetrics' classes that compute the same."""
    import py_sod_metrics as library

    def f_measure() -> library.FmeasureV2:
        """F-measure with its curve and metrics of binary masks, in one pass."""
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

    from_counts = ['maxF', 'meanF', 'adpF', 'maxE', 'E', 'adpE', 'IoU', 'Dice', 'BER', 'Acc']
    result = {
        'F, E, IoU, Dice, BER, accuracy': (from_counts, [f_measure, library.Emeasure]),
        'wF': (['wF'], [library.WeightedFmeasure]),
        'S': (['S'], [library.Smeasure]),
        'MAE': (['MAE'], [library.MAE]),
    }
    names, classes = ([x for pair in result.values() for x in pair[i]] for i in (0, 1))
    result['all of these'] = (names, classes)
    result['HCE'] = (['HCE'], [library.HumanCorrectionEffortMeasure])
    return result


def make_pair(index: int, side: int) -> 'tuple[np.ndarray, np.ndarray]':
    """Returns a prediction and the ground truth, both uint8 [side, side]."""
    import cv2
    import numpy as np

    from mmdiffdis.synthetic import draw_sample

    mask = draw_sample(0, 'DIS-TR', index, side, side).mask
    moved = np.roll(cv2.GaussianBlur(mask, (0, 0), side / 500), side // 400, axis=1)
    noise = np.random.RandomState(index).normal(scale=12, size=(side // 8, side // 8))
    noise = cv2.resize(noise, (side, side))
    return np.clip(moved + noise, 0, 255).astype(np.uint8), mask


def score_with_library(classes: list[Callable], prediction: 'np.ndarray', gt: 'np.ndarray') -> list:
    """Returns PySODMetrics' results for one image."""
    results = []
    for create in classes:
        metric = create()
        metric.step(prediction, gt, normalize=False)
        results.append(metric.get_results())
    return results


def compare(pairs: list[tuple], rounds: int) -> str:
    """Returns a table of both times and their ratio."""
    from tqdm import trange

    from mmdiffdis.evaluation import measure_image
    from mmdiffdis.utils.tables import markdown

    pairs = [(prediction / 255, mask > 127) for prediction, mask in pairs]

    def seconds_per_image(score: Callable) -> float:
        start = time.process_time()
        for prediction, gt in pairs:
            score(prediction, gt)
        return (time.process_time() - start) / len(pairs)

    times = {name: [] for name in groups()}
    for _ in trange(rounds, desc='rounds'):
        for name, (measures, classes) in groups().items():
            ours = seconds_per_image(partial(measure_image, measures=measures))
            library = seconds_per_image(partial(score_with_library, classes))
            times[name].append((library, ours))
    rows = []
    for name, seconds in times.items():
        medians = [f'{statistics.median(column):.3f}' for column in zip(*seconds, strict=True)]
        ratios = [library / ours for library, ours in seconds]
        spread = f'{min(ratios):.1f} - {max(ratios):.1f}'
        rows.append([name, *medians, f'{statistics.median(ratios):.1f}', spread])
    header = ['metrics', 'PySODMetrics, s/image', 'ours, s/image', 'times faster', 'in the rounds']
    return markdown(header, rows)


def compare_workers(pairs: list[tuple], count: int, workers: list[int]) -> str:
    """Returns a table of the seconds that eval_masks.py takes with each number of workers."""
    import cv2
    from tqdm import tqdm

    from mmdiffdis.utils.tables import markdown

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in ('prediction', 'gt'):
            (root / name).mkdir()
        for index in range(count):
            prediction, mask = pairs[index % len(pairs)]
            cv2.imwrite(str(root / f'prediction/{index}.png'), prediction)
            cv2.imwrite(str(root / f'gt/{index}.png'), mask)
        for number in tqdm(workers, desc='workers'):
            command = [sys.executable, str(EVAL_MASKS), '--pred', str(root / 'prediction')]
            command += ['--gt', str(root / 'gt'), '--out', str(root / f'{number}.json')]
            command += ['--metrics', 'all', '--workers', str(number)]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    rows = [
        [number, count, f'{wall:.1f}', f'{seconds[0] / wall:.2f}']
        for number, wall in zip(workers, seconds, strict=True)
    ]
    return markdown(['workers', 'pairs', 'seconds', 'times faster'], rows)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--side', type=int, default=2048, metavar='PIXELS')
    parser.add_argument('--masks', type=int, default=3, metavar='N', help='different masks')
    parser.add_argument('--rounds', type=int, default=5, metavar='N')
    parser.add_argument('--workers', nargs='*', type=int, default=[1, 2], metavar='N')
    parser.add_argument('--pairs', type=int, default=32, metavar='N', help='masks for --workers')
    args = parser.parse_args(argv)
    import cv2

    cv2.setNumThreads(1)
    warnings.simplefilter('ignore')  # PySODMetrics' means of empty regions
    pairs = [make_pair(index, args.side) for index in range(args.masks)]
    print(compare(pairs, args.rounds))
    if args.workers:
        print(f'\n{compare_workers(pairs, args.pairs, args.workers)}')


if __name__ == '__main__':
    main()
