"""Scoring of folders of masks: pairing with ground truth, reading, scoring, resumable results."""

import csv
import json
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..datasets.pairing import image_files, list_subfolders, match_stems
from ..images.reading import read_image, read_size
from ..images.values import to_alpha
from ..utils.files import atomic_write
from ..utils.parallel import process_pool
from .counts import LEVELS, histograms, threshold_counts
from .metrics import IMPLEMENTATION, MEASURES, Image, Scores, measure_image
from .overlap import f_measure, precision, recall
from .protocol import PROTOCOLS, TRUTH_THRESHOLD, apply_protocol, resize_prediction


@dataclass(frozen=True)
class Settings:
    """Everything that scores depend on, besides the files.

    Attributes:
        protocol: Name from `PROTOCOLS`.
        metrics: Names from `MEASURES`.
        resize: Name from `RESIZE_RULES` for masks of another size than their ground truth, or None
            if there are none.
        missing: For ground truths without a readable mask: 'skip' leaves them out, 'empty' scores
            an empty mask, None reports them.
        full_scale: Grey level of masks that means foreground, or None for white.
    """

    protocol: str
    metrics: tuple[str, ...]
    resize: str | None = None
    missing: str | None = None
    full_scale: int | None = None

    def record(self) -> dict:
        """Returns the settings and the metrics' definitions as a JSON-serialisable dict."""
        return {
            'protocol': self.protocol,
            **PROTOCOLS[self.protocol],
            'resize': self.resize or 'none needed',
            'missing': self.missing or 'none',
            'full_scale': self.full_scale or 'by bit depth',
            'truth': f'foreground where the soft mask is > {TRUTH_THRESHOLD}',
            'tta': 'not known: masks are scored as found',
            'seed': 'not known: masks are scored as found',
            'measures': {name: MEASURES[name].definition for name in self.metrics},
            'implementation': IMPLEMENTATION,
        }

    def record_per_image(self) -> dict:
        """Returns the part of `record` that the scores of one image depend on."""
        # leaving images out does not change the scores of the others
        return self.record() | {'missing': self.missing == 'empty'}


@dataclass(frozen=True)
class MaskPair:
    """A predicted mask, None if it is missing, and its ground truth."""

    stem: str
    prediction: Path | None
    gt: Path

    def state(self) -> str:
        """Returns a text that changes when one of the files does."""
        stats = [path.stat() if path else None for path in (self.prediction, self.gt)]
        # archives and `cp -p` restore the time of modification, but not that of the inode's change
        return ' '.join(
            f'{stat.st_size}@{stat.st_mtime_ns}@{stat.st_ctime_ns}' if stat else '-'
            for stat in stats
        )


def files_by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Returns image files by stem, and the paths of files whose stem another file has."""
    files, duplicates = {}, []
    for stem, path in image_files(folder):
        if stem in files:
            duplicates.append(str(path))
        files.setdefault(stem, path)
    return files, duplicates


def pair_masks(predictions: Path, gt: Path) -> tuple[list[MaskPair], dict[str, list[str]]]:
    """Pairs two folders by stem, see `match_stems`; reads file names and image headers only.

    Returns:
        A pair for each ground truth, and the problems found: 'duplicate', 'missing', 'extra' or
        'size' -> stems, paths or descriptions.

    Raises:
        ValueError: If one of the folders has no image file.
    """
    gt_files, duplicate_gt = files_by_stem(gt)
    masks, duplicate_masks = files_by_stem(predictions)
    for option, folder, files in (('--gt', gt, gt_files), ('--pred', predictions, masks)):
        if not files:
            raise ValueError(f'no image file in {option} {folder}{list_subfolders(folder)}')
    stems = match_stems(gt_files, masks)
    pairs = [MaskPair(stem, masks.get(stems.get(stem)), path) for stem, path in gt_files.items()]
    paired = {*stems.values()}
    problems = {
        'duplicate': duplicate_gt + duplicate_masks,
        'missing': [pair.stem for pair in pairs if pair.prediction is None],
        'extra': [str(path) for stem, path in masks.items() if stem not in paired],
        'size': [],
    }
    for pair in pairs:
        sizes = [_header_size(path) for path in (pair.prediction, pair.gt) if path]
        if None not in sizes and len(set(sizes)) > 1:
            mask_size, gt_size = ('{}x{}'.format(*size) for size in sizes)
            problems['size'].append(f'{pair.prediction} is {mask_size}, its ground truth {gt_size}')
    return pairs, {kind: items for kind, items in problems.items() if items}


def _header_size(path: Path) -> tuple[int, int] | None:
    """Returns (width, height), or None if the header is damaged; decoding will report that."""
    try:
        return read_size(path)
    except (OSError, ValueError):
        return None


def read_prediction(path: Path, full_scale: int | None) -> np.ndarray:
    """Returns a mask as float32 [H, W] in [0, 1]; 1 is white, i.e. 255 or, with 16 bits, 65535.

    Args:
        path: An image file.
        full_scale: Grey level that means 1, or None for white; boolean and floating-point masks
            have no grey levels.

    Raises:
        ValueError: If the file is damaged or no mask, or has no other levels than 0 and 1.
    """
    image = read_image(str(path))
    if image.mode in ('1', 'F'):
        return to_alpha(image, 1)
    if full_scale is not None:
        return to_alpha(image, full_scale)
    white = 65535 if image.mode.startswith('I') else 255
    mask = to_alpha(image, white)
    if round(mask.max() * white) == 1:
        raise ValueError(
            'its largest grey level is 1: set with --full-scale which level means foreground, 1 or '
            '255'
        )
    return mask


def read_ground_truth(path: Path) -> np.ndarray:
    """Returns a soft mask as float32 [H, W] in [0, 1].

    Raises:
        ValueError: If the file cannot be read or is no mask; the message begins with its path.
    """
    try:
        return to_alpha(read_image(str(path)))
    except (OSError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from error


def load_prediction(pair: MaskPair, shape: tuple[int, int], settings: Settings) -> np.ndarray:
    """Returns the mask of a pair as float32 [H, W] in [0, 1], at the ground truth's size.

    Args:
        pair: The pair; if its mask is missing, an empty one is returned.
        shape: Height and width of the ground truth.
        settings: With `missing='empty'`, an empty mask stands in for an unreadable one, too.

    Raises:
        ValueError: If the mask cannot be used; the message begins with its path.
    """
    if pair.prediction is None:
        return np.zeros(shape, np.float32)
    try:
        mask = read_prediction(pair.prediction, settings.full_scale)
        if mask.shape == shape:
            return mask
        if settings.resize is None:
            raise ValueError('its size differs from that in its header and from its ground truth')
        return resize_prediction(mask, shape, settings.resize)
    except (OSError, ValueError) as error:
        if settings.missing == 'empty':
            return np.zeros(shape, np.float32)
        raise ValueError(f'{pair.prediction}: {error}') from error


def score_pair(pair: MaskPair, settings: Settings) -> tuple[dict[str, float], np.ndarray] | str:
    """Scores one image.

    Returns:
        Scores, of curves the largest value, and `histograms` [2, 256]; or a text that names the
        unreadable file and the reason.
    """
    try:
        gt = read_ground_truth(pair.gt) > TRUTH_THRESHOLD
        prediction = load_prediction(pair, gt.shape, settings)
    except ValueError as error:
        return str(error)
    prediction = apply_protocol(prediction, **PROTOCOLS[settings.protocol])
    levels = histograms(prediction, gt)
    values = measure_image(prediction, gt, settings.metrics, threshold_counts(levels))
    return {name: float(np.max(value)) for name, value in values.items()}, levels


def score_pairs(
    pairs: list[MaskPair], settings: Settings, workers: int
) -> Iterator[tuple[MaskPair, tuple[dict[str, float], np.ndarray] | str]]:
    """Yields each pair with the result of `score_pair`, in the order of completion.

    Raises:
        OSError: If a worker process was killed.
    """
    if workers == 1 or len(pairs) < 2:
        yield from ((pair, score_pair(pair, settings)) for pair in pairs)
        return
    with process_pool(min(workers, len(pairs))) as pool:
        try:
            waiting = {}
            remaining = iter(pairs)
            while True:
                # a few at a time, so that memory does not grow with the set
                while len(waiting) < 2 * workers and (pair := next(remaining, None)):
                    waiting[pool.submit(score_pair, pair, settings)] = pair
                if not waiting:
                    return
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise OSError(
                'a worker was killed, probably for lack of memory; finished images are kept: start '
                'again with fewer --workers'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class Store:
    """Results of the images of one model, in two CSV files to which lines are appended.

    Args:
        folder: Folder of the files; created if necessary.
        settings: Settings of all results in the folder.

    Attributes:
        values: Stem -> scores of all images that have been scored.

    Raises:
        ValueError: If the folder holds results of other settings.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.metrics = folder, settings.metrics
        settings_file = folder / 'settings.json'
        text = json.dumps(settings.record_per_image(), indent=1)
        if settings_file.exists() and settings_file.read_text(encoding='utf-8') != text:
            raise ValueError(
                f'{folder} holds results of other settings (see settings.json there): choose '
                'another --out, or remove the folder'
            )
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(settings_file) as unfinished:
            unfinished.write_text(text, encoding='utf-8')
        levels = [f'{where}{level}' for where in 'fb' for level in range(LEVELS)]
        self._columns = {
            'histograms.csv': ['stem', 'files', *levels],
            'per_image.csv': ['stem', 'files', *self.metrics],
        }
        self.values: dict[str, dict[str, float]] = {}

    def keep(self, states: dict[str, str]) -> set[str]:
        """Removes results of images that are not in `states` (stem -> state) or have changed.

        Returns:
            The stems of the remaining images, which need not be scored again.
        """
        up_to_date = [
            {stem for stem, state, *_ in self._read(name) if states.get(stem) == state}
            for name in self._columns
        ]
        finished = set.intersection(*up_to_date)
        for name, columns in self._columns.items():
            remaining = set(finished)
            with (
                atomic_write(self.folder / name) as unfinished,
                unfinished.open('w', newline='', encoding='utf-8') as file,
            ):
                writer = csv.writer(file, lineterminator='\n')
                writer.writerow(columns)
                for cells in self._read(name):
                    if cells[0] in remaining and cells[1] == states[cells[0]]:
                        writer.writerow(cells)
                        remaining.remove(cells[0])
        for stem, _, *scores in self._read('per_image.csv'):
            self.values[stem] = dict(zip(self.metrics, map(float, scores), strict=True))
        return finished

    def add(self, stem: str, state: str, values: dict[str, float], levels: np.ndarray) -> None:
        """Appends an image; it counts as finished once both of its lines are complete."""
        self.values[stem] = values
        cells = {'histograms.csv': levels.ravel(), 'per_image.csv': map(repr, values.values())}
        for name, numbers in cells.items():
            with (self.folder / name).open('a', newline='', encoding='utf-8') as file:
                csv.writer(file, lineterminator='\n').writerow([stem, state, *numbers])

    def histograms(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields the stem and the histograms, int64 [2, 256], of each image of `values`, once."""
        remaining = set(self.values)
        for stem, _, *counts in self._read('histograms.csv'):
            if stem in remaining:
                remaining.remove(stem)
                yield stem, np.array(counts, np.int64).reshape(2, LEVELS)

    def _read(self, name: str) -> Iterator[list[str]]:
        path = self.folder / name
        if not path.exists():
            return
        with path.open(newline='\n', encoding='utf-8') as file:
            next(file, None)
            # a line without an end was cut off when the program was killed
            for cells in csv.reader(line for line in file if line.endswith('\n')):
                if len(cells) == len(self._columns[name]):
                    yield cells


def score_folder(
    pairs: list[MaskPair], settings: Settings, store: Store, workers: int
) -> list[str]:
    """Scores the images that the store lacks; returns a text for each unreadable file."""
    states = {pair.stem: pair.state() for pair in pairs}
    finished = store.keep(states)
    unreadable = []
    remaining = [pair for pair in pairs if pair.stem not in finished]
    bar = tqdm(total=len(pairs), initial=len(finished), desc=store.folder.name, unit='image')
    with bar:
        for pair, result in score_pairs(remaining, settings, workers):
            if isinstance(result, str):
                unreadable.append(result)
            else:
                store.add(pair.stem, states[pair.stem], *result)
            bar.update()
    return unreadable


def score_set(store: Store) -> tuple[dict[str, float], dict[str, np.ndarray], int]:
    """Returns the scores of all images of a store, mean curves, and how many images are empty.

    Returns:
        Name -> score; 'precision', 'recall' and 'F' -> float64 [256]; the number of images whose
        ground truth has no foreground.
    """
    scores, curves, empty = Scores(), Scores(), 0
    for stem, levels in store.histograms():
        counts = threshold_counts(levels)
        empty += not levels[0].any()
        image = Image(counts=counts)
        scores.add(
            {
                name: MEASURES[name].compute(image) if MEASURES[name].is_curve else value
                for name, value in store.values[stem].items()
            }
        )
        curves.add(
            {'precision': precision(counts), 'recall': recall(counts), 'F': f_measure(counts)}
        )
    return scores.compute(), curves.means(), empty
