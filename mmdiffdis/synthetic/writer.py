"""Writing of a synthetic set in DIS5K's layout, with a contact sheet and its settings."""

import json
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image
from tqdm import tqdm

from ..images.panels import contact_sheet, evenly_spaced
from ..utils.parallel import available_cpus
from .scene import SPLITS, Sample, draw_sample, stem_of

JPEG_QUALITY = 95
MIN_SIDE = 32
CONTACT_SHEET_PAIRS = 48
CONTACT_SHEET = 'contact_sheet.jpg'
RECORD = 'synthetic_dis.json'


def write_dataset(
    out: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int = 0,
    size: tuple[int, int] = (256, 256),
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Draws a set into `out`/DIS-TR and `out`/DIS-VD and returns its folder.

    Args:
        out: Folder of the set.
        num_train: Number of training images, 0 or more.
        num_val: Number of validation images, 0 or more.
        seed: Seed; the same seed gives the same files for all numbers of images and workers.
        size: Height and width of the images.
        workers: Number of processes (default: one per available CPU, at most 8).
        overwrite: Whether to replace a synthetic set in `out`; other files stay.

    Raises:
        ValueError: If a number, the seed, the size or the workers are out of range.
        FileExistsError: If `out` is a file, is not empty without `overwrite`, or has images that
            its record does not list.
    """
    _check_arguments(num_train, num_val, seed, size, workers)
    out = Path(out)
    _remove_earlier_set(out, overwrite)
    for split in SPLITS:
        for folder in ('im', 'gt'):
            (out / split / folder).mkdir(parents=True, exist_ok=True)
    record = {
        'num_train': num_train,
        'num_val': num_val,
        'seed': seed,
        'size': list(size),
        'jpeg_quality': JPEG_QUALITY,
        'versions': {
            'python': platform.python_version(),
            'numpy': np.__version__,
            'opencv': cv2.__version__,
            'scikit-image': skimage.__version__,
        },
    }
    (out / RECORD).write_text(json.dumps(record, indent=2) + '\n')

    jobs = [(SPLITS[0], i) for i in range(num_train)] + [(SPLITS[1], i) for i in range(num_val)]
    write = partial(_draw_and_write, out, seed, size)
    processes = min(workers or min(available_cpus(), 8), len(jobs))
    bar = partial(tqdm, total=len(jobs), desc='drawing', unit='image')
    if processes == 1:
        stems = list(bar(map(write, jobs)))
    else:
        with ProcessPoolExecutor(processes, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
            chunk = max(1, min(8, len(jobs) // (4 * processes)))
            stems = list(bar(pool.map(write, jobs, chunksize=chunk)))

    chosen = evenly_spaced(list(zip(jobs, stems, strict=True)), CONTACT_SHEET_PAIRS)
    samples = [read_sample(out, split, stem) for (split, _), stem in chosen]
    sheet = contact_sheet(
        [(sample.stem, sample.image[..., ::-1], sample.mask) for sample in samples]
    )
    Image.fromarray(sheet).save(out / CONTACT_SHEET, quality=JPEG_QUALITY)
    return out


def read_sample(out: Path, split: str, stem: str) -> Sample:
    """Reads a pair that `write_dataset` wrote."""
    image = cv2.imread(str(out / split / 'im' / f'{stem}.jpg'), cv2.IMREAD_COLOR)
    mask = cv2.imread(str(out / split / 'gt' / f'{stem}.png'), cv2.IMREAD_GRAYSCALE)
    return Sample(image, mask, stem.split('#', 1)[1], stem)


def _draw_and_write(out: Path, seed: int, size: tuple[int, int], job: tuple[str, int]) -> str:
    split, index = job
    sample = draw_sample(seed, split, index, *size)
    image, mask = (
        out / split / 'im' / f'{sample.stem}.jpg',
        out / split / 'gt' / f'{sample.stem}.png',
    )
    written = cv2.imwrite(str(image), sample.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not (written and cv2.imwrite(str(mask), sample.mask)):
        raise OSError(f'could not write {image} or {mask}; is the disk full or read-only?')
    return sample.stem


def _remove_earlier_set(out: Path, overwrite: bool) -> None:
    """Removes a synthetic set in `out` if `overwrite` is set, and nothing else."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f'{out} is a file; choose a folder')
    if any(out.iterdir()) and not overwrite:
        raise FileExistsError(
            f'{out} is not empty; choose another folder, or pass --overwrite (overwrite=True) to '
            'replace the set in it'
        )
    found = {
        path
        for folder in (out, *(out / split / part for split in SPLITS for part in ('im', 'gt')))
        for path in folder.glob('*.*')
        if folder != out or path.name == CONTACT_SHEET
    }
    listed = _files_of(out)
    if others := sorted(found - listed):
        raise FileExistsError(
            f'{out} holds {len(others)} files, such as {others[0].relative_to(out)}, that are not '
            f'of the set that {RECORD} records: move them away, or choose another folder'
        )
    for path in found:
        path.unlink()


def _files_of(out: Path) -> set[Path]:
    """Returns the paths of all images of the set that is recorded in `out`."""
    if not (out / RECORD).is_file():
        return set()
    try:
        record = json.loads((out / RECORD).read_text())
        numbers = zip(SPLITS, (record['num_train'], record['num_val']), strict=True)
        jobs = [(split, index) for split, number in numbers for index in range(number)]
        stems = [(split, stem_of(record['seed'], split, index)) for split, index in jobs]
    except (KeyError, TypeError, ValueError) as error:
        raise FileExistsError(
            f'{out / RECORD} is not the record of a synthetic set: choose another folder'
        ) from error
    images = {out / split / 'im' / f'{stem}.jpg' for split, stem in stems}
    return (
        images
        | {out / split / 'gt' / f'{stem}.png' for split, stem in stems}
        | {out / CONTACT_SHEET}
    )


def _check_arguments(
    num_train: int, num_val: int, seed: int, size: tuple[int, int], workers: int | None
) -> None:
    if num_train < 0 or num_val < 0 or num_train + num_val == 0:
        raise ValueError(
            f'num_train={num_train}, num_val={num_val}: expected 0 or more images, and not both 0'
        )
    if seed < 0:
        raise ValueError(f'seed={seed}: expected 0 or more')
    if len(size) != 2 or min(size) < MIN_SIDE:
        raise ValueError(
            f'size={tuple(size)}: expected a height and a width of {MIN_SIDE} pixels or more; thin '
            'structures cannot be drawn in less'
        )
    if workers is not None and workers < 1:
        raise ValueError(
            f'workers={workers}: expected 1 or more; leave it out for one per available CPU'
        )
