#!/usr/bin/env python
"""Scores folders of masks, of any model, against a folder of ground truth:

    python tools/analysis_tools/eval_masks.py --pred DIR [NAME=DIR ...] --gt DIR --out FILE.json
        [--metrics maxF wF E S MAE | all] [--protocol soft|binary|pysodmetrics|diffdis]
        [--workers N]

Masks and truths are paired by file stem, whatever their suffixes. Beside FILE.json, a folder FILE/
gets the table as .md, .csv and .tex with the best figures in bold, the precision-recall and
F-measure curves as curves.png, and for each model per_image.csv, histograms.csv (pixels of each
level in the truth's foreground f and outside b) and worst.jpg. In per_image.csv, maxF and maxE are
the image's own largest; those of the set are the largest of the mean curve.

Results are written as they come. Started again with the same settings, the command scores only what
is missing or what has changed since; it may be stopped at any moment.

Missing, superfluous, unreadable and wrongly sized masks are listed, and nothing is scored, unless
--missing, --extra and --resize say what to do about them; what was done is part of the results.

Exit code: 0 if everything was scored, 1 if not, 130 if it was interrupted (Ctrl-C).
"""

import argparse
import csv
import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import cv2
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from tqdm import tqdm

from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
from mmdiffdis.datasets.pairing import image_files, what_is_there
from mmdiffdis.evaluation import (
    LOWER_IS_BETTER,
    MEASURES,
    PAPER_MEASURES,
    PROTOCOLS,
    RESIZE_RULES,
    Scores,
    apply_protocol,
    measure_image,
    protocol_text,
)
from mmdiffdis.evaluation.counts import LEVELS, histograms, threshold_counts
from mmdiffdis.evaluation.e_measure import e_measure
from mmdiffdis.evaluation.measures import CURVES, IMPLEMENTATION
from mmdiffdis.evaluation.overlap import f_measure, precision, recall
from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD, resize_prediction
from mmdiffdis.images.panels import row
from mmdiffdis.images.reading import read_image, read_rgb, read_size
from mmdiffdis.images.values import to_alpha
from mmdiffdis.utils.environment import versions
from mmdiffdis.utils.files import save_json
from mmdiffdis.utils.parallel import process_pool
from mmdiffdis.utils.tables import format_scores, latex, latex_text, markdown

LISTED = 20  # problems of a kind that are printed
TREATMENTS = ('missing', 'extra', 'resize')  # options that say what to do about problems


@dataclass(frozen=True)
class Settings:
    """What the figures depend on, besides the files."""

    protocol: str
    measures: tuple[str, ...]
    resize: str | None
    missing: str | None
    full_scale: int | None

    def of_images(self) -> dict:
        """What one image's figures depend on, ready for JSON."""
        # what is left out has no figures
        return self.record() | {'missing': self.missing == 'empty'}

    def record(self) -> dict:
        """All of it, ready for JSON."""
        return {
            'protocol': self.protocol,
            **PROTOCOLS[self.protocol],
            'resize': self.resize or 'none needed',
            'missing': self.missing or 'none',
            'full_scale': self.full_scale or 'by bit depth',
            'truth': f'foreground where the soft mask is > {TRUTH_THRESHOLD}',
            'tta': 'not known: masks are scored as found',
            'seed': 'not known: masks are scored as found',
            'measures': {name: MEASURES[name] for name in self.measures},
            'implementation': IMPLEMENTATION,
        }


@dataclass(frozen=True)
class Pair:
    """A truth and the prediction for it, which may be missing."""

    stem: str
    prediction: Path | None
    truth: Path

    def state(self) -> str:
        """Changes when one of the files does."""
        stats = [path.stat() if path else None for path in (self.prediction, self.truth)]
        # the second time is that of the change itself: archives and `cp -p` restore the first
        return ' '.join(
            f'{stat.st_size}@{stat.st_mtime_ns}@{stat.st_ctime_ns}' if stat else '-'
            for stat in stats
        )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--pred', nargs='+', required=True, metavar='[NAME=]DIR')
    parser.add_argument('--gt', required=True, type=Path, metavar='DIR')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.json')
    parser.add_argument(
        '--metrics', nargs='+', choices=[*MEASURES, 'all'], default=list(PAPER_MEASURES)
    )
    parser.add_argument('--protocol', choices=PROTOCOLS, default='soft')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N')
    parser.add_argument(
        '--resize', choices=RESIZE_RULES, help="bring masks of another size to the truth's"
    )
    parser.add_argument(
        '--missing',
        choices=('skip', 'empty'),
        help='truths without a readable mask: leave them out, or score them as empty masks',
    )
    parser.add_argument('--extra', choices=('skip',), help='masks without a truth: leave them out')
    parser.add_argument(
        '--full-scale', type=int, metavar='N', help='grey level of masks that means foreground'
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='pictures, for worst.jpg')
    parser.add_argument('--worst', type=int, default=8, metavar='N', help='rows of worst.jpg')
    args = parser.parse_args(argv)
    if args.workers < 1 or args.worst < 0:
        parser.error('--workers has to be 1 or more, and --worst 0 or more')
    return args


def models_of(arguments: list[str]) -> dict[str, Path]:
    """Name -> folder, from what --pred says; the name is by default the folder's.

    Raises:
        NotADirectoryError: There is no such folder.
        ValueError: Two have the same name, or one has a name that cannot be a folder's.
    """
    models = {}
    for argument in arguments:
        name, equals, folder = argument.partition('=')
        if not equals or Path(argument).is_dir():
            name, folder = Path(argument).resolve().name, argument
        if name in ('', '.', '..', *models) or '/' in name or os.sep in name:
            raise ValueError(f'--pred {argument} needs a name of its own: NAME={folder}.')
        models[name] = Path(folder)
    for folder in models.values():
        if not folder.is_dir():
            raise NotADirectoryError(f'--pred {folder} is no folder.')
    return models


def files_by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Image files by stem, and the names of those whose stem another has."""
    files, duplicates = {}, []
    for stem, path in image_files(folder):
        if stem in files:
            duplicates.append(str(path))
        files.setdefault(stem, path)
    return files, duplicates


def find_pairs(predictions: Path, truths: Path) -> tuple[list[Pair], dict[str, list[str]]]:
    """All truths with their predictions, and problems by their kind, from names and headers alone.

    Raises:
        ValueError: There are no truths, or no predictions.
    """
    of_truths, duplicate_truths = files_by_stem(truths)
    found, duplicates = files_by_stem(predictions)
    for option, folder, files in (('--gt', truths, of_truths), ('--pred', predictions, found)):
        if not files:
            raise ValueError(f'no image file in {option} {folder}{what_is_there(folder)}')
    pairs = [Pair(stem, found.get(stem), path) for stem, path in of_truths.items()]
    problems = {
        'duplicate': duplicate_truths + duplicates,
        'missing': [pair.stem for pair in pairs if pair.prediction is None],
        'extra': [str(path) for stem, path in found.items() if stem not in of_truths],
        'size': [],
    }
    for pair in pairs:
        sizes = [_header_size(path) for path in (pair.prediction, pair.truth) if path]
        if None not in sizes and len({*sizes}) > 1:
            mask, truth = ('{}x{}'.format(*size) for size in sizes)
            problems['size'].append(f'{pair.prediction} is {mask}, its truth {truth}')
    return pairs, problems


def _header_size(path: Path) -> tuple[int, int] | None:
    """Width and height; None if the header cannot be read, which decoding will report."""
    try:
        return read_size(path)
    except (OSError, ValueError):
        return None


def read_prediction(path: Path, full_scale: int | None) -> np.ndarray:
    """float32 [H, W] in [0, 1]; 1 is white, i.e. 255 or, with 16 bits, 65535.

    Raises:
        ValueError: The file is damaged or no mask, or holds no other values than 0 and 1.
    """
    image = read_image(str(path))
    if image.mode in ('1', 'F'):
        return to_alpha(image, 1)  # they have no grey levels
    if full_scale is not None:
        return to_alpha(image, full_scale)
    white = 65535 if image.mode.startswith('I') else 255
    mask = to_alpha(image, white)
    if round(mask.max() * white) == 1:
        raise ValueError(
            'its largest grey level is 1; say with --full-scale which level is foreground, 1 or 255'
        )
    return mask


def score(pair: Pair, settings: Settings) -> tuple[dict[str, float], np.ndarray] | str:
    """Measures of one image, curves by their largest value, and its histograms; or what is wrong.

    The histograms [2, 256] are those of ``mmdiffdis.evaluation.counts``.
    """
    path = pair.truth
    try:
        truth = to_alpha(read_image(str(path))) > TRUTH_THRESHOLD
        prediction, path = np.zeros(truth.shape, np.float32), pair.prediction
        if path is not None:
            prediction = read_prediction(path, settings.full_scale)
        if prediction.shape != truth.shape:
            if settings.resize is None:
                raise ValueError("it is not of its truth's size")  # and its header lies
            prediction = resize_prediction(prediction, truth.shape, settings.resize)
    except (OSError, ValueError) as error:
        if settings.missing != 'empty' or path == pair.truth:
            return f'{path}: {error}'
        prediction = np.zeros(truth.shape, np.float32)
    prediction = apply_protocol(prediction, **PROTOCOLS[settings.protocol])
    levels = histograms(prediction, truth)
    values = measure_image(prediction, truth, settings.measures, threshold_counts(levels))
    return {name: float(np.max(value)) for name, value in values.items()}, levels


def score_all(
    pairs: list[Pair], settings: Settings, workers: int
) -> Iterator[tuple[Pair, tuple[dict[str, float], np.ndarray] | str]]:
    """Each pair and what ``score`` gives for it, as they get ready."""
    if workers == 1 or len(pairs) < 2:
        yield from ((pair, score(pair, settings)) for pair in pairs)
        return
    with process_pool(workers) as pool:
        try:
            waiting = {}
            remaining = iter(pairs)
            while True:
                # no more than a few at a time, so that memory does not grow with the set
                while len(waiting) < 2 * workers and (pair := next(remaining, None)):
                    waiting[pool.submit(score, pair, settings)] = pair
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise OSError(
                'a worker was killed, probably for lack of memory; what is done is kept. Start '
                'again with fewer --workers.'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class Store:
    """What is known of each image of a model, in two CSV files that grow line by line.

    Args:
        folder: where they are.
        settings: refused if the files were made with others.

    Raises:
        ValueError: The folder holds results of other settings.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.measures = folder, settings.measures
        note, text = folder / 'settings.json', json.dumps(settings.of_images(), indent=1)
        if note.exists() and note.read_text(encoding='utf-8') != text:
            raise ValueError(
                f'{folder} holds results of other settings (see settings.json there); choose '
                'another --out, or remove the folder.'
            )
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text(text, encoding='utf-8')
        levels = [f'{where}{level}' for where in 'fb' for level in range(LEVELS)]
        self._columns = {
            'histograms.csv': ['stem', 'files', *levels],
            'per_image.csv': ['stem', 'files', *self.measures],
        }
        self._values: dict[str, dict[str, float]] = {}

    def keep(self, states: dict[str, str]) -> set[str]:
        """Forget images that are not in ``states`` (stem -> state), or not in that state.

        Returns the stems of those that need not be scored again.
        """
        known = [
            {stem for stem, state, *_ in self._read(name) if states.get(stem) == state}
            for name in self._columns
        ]
        done = set.intersection(*known)
        for name, columns in self._columns.items():
            unfinished, remaining = self.folder / f'.{name}', set(done)
            with unfinished.open('w', newline='', encoding='utf-8') as file:
                writer = csv.writer(file, lineterminator='\n')
                writer.writerow(columns)
                for cells in self._read(name):
                    if cells[0] in remaining and cells[1] == states[cells[0]]:
                        writer.writerow(cells)
                        remaining.remove(cells[0])
            os.replace(unfinished, self.folder / name)
        for stem, _, *figures in self._read('per_image.csv'):
            self._values[stem] = dict(zip(self.measures, map(float, figures), strict=True))
        return done

    def add(self, stem: str, state: str, values: dict[str, float], levels: np.ndarray) -> None:
        """Write down an image; it counts as done once its last line is complete."""
        self._values[stem] = values
        cells = {'histograms.csv': levels.ravel(), 'per_image.csv': map(repr, values.values())}
        for name, numbers in cells.items():
            with (self.folder / name).open('a', newline='', encoding='utf-8') as file:
                csv.writer(file, lineterminator='\n').writerow([stem, state, *numbers])

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Stem -> measures of all images that have been scored."""
        return self._values

    def histograms(self) -> Iterator[tuple[str, np.ndarray]]:
        """Stem and histograms, int64 [2, 256], of each image."""
        for stem, _, *counts in self._read('histograms.csv'):
            yield stem, np.array(counts, np.int64).reshape(2, LEVELS)

    def _read(self, name: str) -> Iterator[list[str]]:
        path = self.folder / name
        if not path.exists():
            return
        with path.open(newline='\n', encoding='utf-8') as file:
            next(file, None)
            # a line without its end was cut when the command was killed
            for cells in csv.reader(line for line in file if line.endswith('\n')):
                if len(cells) == len(self._columns[name]):
                    yield cells


def evaluate(pairs: list[Pair], settings: Settings, store: Store, workers: int) -> list[str]:
    """Score what is not in the store; returns what could not be read."""
    states = {pair.stem: pair.state() for pair in pairs}
    done = store.keep(states)
    unreadable = []
    remaining = [pair for pair in pairs if pair.stem not in done]
    bar = tqdm(total=len(pairs), initial=len(done), desc=store.folder.name, unit='image')
    with bar:
        for pair, result in score_all(remaining, settings, workers):
            if isinstance(result, str):
                unreadable.append(result)
            else:
                store.add(pair.stem, states[pair.stem], *result)
            bar.update()
    return unreadable


def summarise(store: Store) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """The set's figures, and its mean curves 'precision', 'recall' and 'F' [256]."""
    figures, curves = Scores(), Scores()
    for stem, levels in store.histograms():
        counts, values = threshold_counts(levels), store.values[stem]
        own = {'maxF': f_measure(counts), 'maxE': e_measure(counts)}
        figures.add({name: own[name] if name in CURVES else values[name] for name in values})
        curves.add({'precision': precision(counts), 'recall': recall(counts), 'F': own['maxF']})
    return figures.figures(), curves.means()


def draw_curves(curves: dict[str, dict[str, np.ndarray]], title: str, out: Path) -> None:
    """Precision over recall, and F-measure over the threshold, of all models."""
    figure = Figure(figsize=(10, 4.4), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name, of_model in curves.items():
        # matplotlib takes $ for mathematics and leaves out names that begin with _
        label = name.replace('$', r'\$')
        label = f' {label}' if label.startswith('_') else label
        left.plot(of_model['recall'], of_model['precision'], label=label)
        right.plot(np.arange(LEVELS)[::-1], of_model['F'], label=label)
    left.set(xlabel='recall', ylabel='precision', xlim=(0, 1.01), ylim=(0, 1.01))
    right.set(xlabel='threshold (of 255)', ylabel='F-measure', ylim=(0, 1.01))
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title, fontsize=9)
    figure.savefig(out, dpi=120)


def draw_worst(
    pairs: list[Pair], store: Store, settings: Settings, images: Path | None, count: int
) -> np.ndarray | None:
    """uint8 [H, W, 3]: the images that are worst by the first measure, one below the other.

    In the difference, red was found and is none, blue was missed.
    """
    by = settings.measures[0]
    scored = [pair for pair in pairs if pair.stem in store.values]
    worst = sorted(
        scored, key=lambda pair: store.values[pair.stem][by], reverse=by in LOWER_IS_BETTER
    )[:count]
    pictures = files_by_stem(images)[0] if images else {}
    rows = []
    for pair in worst:
        truth = to_alpha(read_image(str(pair.truth)))
        try:
            mask = read_prediction(pair.prediction, settings.full_scale)
        except (AttributeError, OSError, ValueError):  # no such file, or a damaged one
            mask = np.zeros_like(truth)
        if mask.shape != truth.shape:
            mask = resize_prediction(mask, truth.shape, settings.resize)
        hits = np.minimum(mask, truth)
        difference = np.stack([mask, hits, truth], axis=2)
        parts = {f'{by} {store.values[pair.stem][by]:.3f}, {pair.stem}': mask, 'truth': truth}
        parts['difference'] = np.rint(difference * 255).astype(np.uint8)
        if pair.stem in pictures:
            parts['image'] = read_rgb(str(pictures[pair.stem]))
        rows.append(row(parts, max_side=320))
    if not rows:
        return None
    width = max(each.shape[1] for each in rows)
    return np.vstack(
        [
            cv2.copyMakeBorder(
                each, 0, 8, 0, width - each.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3
            )
            for each in rows
        ]
    )


def write_tables(results: dict[str, dict], settings: Settings, folder: Path) -> str:
    """Writes table.md, .csv and .tex; returns the Markdown."""
    header = ['model', 'images', *settings.measures]
    title = protocol_text(settings.record())
    if settings.missing:
        title += f'; missing masks: {settings.missing}'

    def cells(bold: str, name=str) -> list[list[str]]:
        columns = [
            [name(model) for model in results],
            [each['images'] for each in results.values()],
        ]
        for measure in settings.measures:
            figures = [each['metrics'][measure] for each in results.values()]
            decimals = 1 if measure == 'HCE' else 4
            columns.append(format_scores(figures, decimals, measure in LOWER_IS_BETTER, bold))
        return [list(line) for line in zip(*columns, strict=True)]

    text = f'{title}\n\n{markdown(header, cells("**{}**"))}\n'
    (folder / 'table.md').write_text(text, encoding='utf-8')
    table = latex(header, cells(r'\textbf{{{}}}', latex_text))
    (folder / 'table.tex').write_text(f'% {title}\n{table}\n', encoding='utf-8')
    with (folder / 'table.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([*header, 'protocol'])
        for model, each in results.items():
            figures = [each['metrics'][measure] for measure in settings.measures]
            writer.writerow([model, each['images'], *figures, title])
    return text


def describe(problems: dict[str, dict[str, list[str]]], ways_out: bool) -> str:
    """Problems by model and kind, as text, maybe with ways out; of each kind the first few."""
    kinds = {
        'duplicate': ('masks whose stem another has too', 'remove one of each'),
        'missing': ('truths without a mask', '--missing skip|empty'),
        'extra': ('masks without a truth', '--extra skip'),
        'size': ("masks that are not of their truth's size", f'--resize {"|".join(RESIZE_RULES)}'),
        'unreadable': ('files that cannot be read', 'replace them, or --missing skip|empty'),
    }
    lines = []
    for model, found in problems.items():
        for kind, items in found.items():
            what, way_out = kinds[kind]
            lines.append(f'{model}: {len(items)} {what}' + (f'; {way_out}' if ways_out else ''))
            lines += [f'  {item}' for item in items[:LISTED]]
            if len(items) > LISTED:
                lines.append(f'  and {len(items) - LISTED} more')
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    """Scores everything; returns the exit code."""
    args = parse_args(argv)
    measures = tuple(MEASURES) if 'all' in args.metrics else tuple(dict.fromkeys(args.metrics))
    settings = Settings(args.protocol, measures, args.resize, args.missing, args.full_scale)
    treated = {'missing': args.missing, 'extra': args.extra, 'size': args.resize}
    with one_line_errors(BUILD_ERRORS):
        if args.out.suffix != '.json':
            raise ValueError(f'--out {args.out}: expected the name of a .json file.')
        for folder in filter(None, (args.gt, args.images)):
            if not folder.is_dir():
                raise NotADirectoryError(f'{folder} is no folder.')
        models = models_of(args.pred)
        found = {name: find_pairs(folder, args.gt) for name, folder in models.items()}
        known = {
            name: {kind: items for kind, items in problems.items() if items}
            for name, (_, problems) in found.items()
        }
        open_problems = {
            name: {kind: items for kind, items in kinds.items() if not treated.get(kind)}
            for name, kinds in known.items()
        }
        if any(open_problems.values()):
            print(f'nothing was scored:\n{describe(open_problems, ways_out=True)}', file=sys.stderr)
            return 1

        folder = args.out.with_suffix('')
        stores = {name: Store(folder / name, settings) for name in models}
        results, curves, unreadable = {}, {}, {}
        for name, (pairs, _) in found.items():
            if args.missing == 'skip':
                pairs = [pair for pair in pairs if pair.prediction is not None]
            try:
                failed = evaluate(pairs, settings, stores[name], args.workers)
            except KeyboardInterrupt:
                print('\ninterrupted; the same command goes on from here', file=sys.stderr)
                return 128 + signal.SIGINT  # as shells say it
            if failed:
                known[name]['unreadable'] = failed
                if args.missing != 'skip':
                    unreadable[name] = {'unreadable': failed}
        if unreadable:
            print(
                f'not everything was scored:\n{describe(unreadable, ways_out=True)}',
                file=sys.stderr,
            )
            return 1

        for name, (pairs, _) in found.items():
            if not stores[name].values:
                raise ValueError(f'no image of {name} could be scored.')
            figures, curves[name] = summarise(stores[name])
            results[name] = {
                'metrics': figures,
                'images': len(stores[name].values),
                'pred': str(models[name]),
                'problems': known[name],
            }
            picture = draw_worst(pairs, stores[name], settings, args.images, args.worst)
            if picture is not None:
                Image.fromarray(picture).save(folder / name / 'worst.jpg', quality=92)
        record = settings.record()
        draw_curves(curves, protocol_text(record), folder / 'curves.png')
        if any(known.values()):
            done = [f'--{k} {v}' for k, v in vars(args).items() if k in TREATMENTS and v]
            print(f'scored with {" ".join(done)}:\n{describe(known, ways_out=False)}\n')
        print(write_tables(results, settings, folder))
        content = {'models': results, 'gt': str(args.gt), 'protocol': record}
        save_json({**content, 'versions': versions()}, args.out)
        print(f'written to {args.out} and {folder}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
