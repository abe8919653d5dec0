"""A synthetic set on disk, in DIS5K's layout, with a contact sheet and a record of its making."""

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

from ..images.panels import contact_sheet, spread
from .scene import SPLITS, Sample, draw_sample

JPEG_QUALITY = 95
MIN_SIDE = 32
CONTACT_SHEET_PAIRS = 48
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
    """Draw a set into `out`/DIS-TR and `out`/DIS-VD and return its folder.

    Args:
        out: Folder to fill.
        num_train: Number of training images, 0 or more.
        num_val: Number of validation images, 0 or more.
        seed: The same seed draws the same files, whatever the numbers and the workers.
        size: Height and width of the images.
        workers: Processes that draw; by default one per core, at most 8.
        overwrite: Replace the synthetic set that `out` holds; other files stay.

    Raises:
        ValueError: If a number, the seed, the size or the workers are out of range.
        FileExistsError: If `out` is not empty and `overwrite` is not set, or if it holds images
            that are not of a synthetic set.
    """
    _check(num_train, num_val, seed, size, workers)
    out = Path(out)
    _clear(out, overwrite)
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
    work = partial(_draw_and_write, out, seed, size)
    processes = min(workers or min(os.cpu_count() or 1, 8), len(jobs))
    bar = partial(tqdm, total=len(jobs), desc='drawing', unit='image')
    if processes == 1:
        stems = list(bar(map(work, jobs)))
    else:
        with ProcessPoolExecutor(processes, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
            chunk = max(1, min(8, len(jobs) // (4 * processes)))
            stems = list(bar(pool.map(work, jobs, chunksize=chunk)))

    chosen = spread(list(zip(jobs, stems, strict=True)), CONTACT_SHEET_PAIRS)
    samples = [read_sample(out, split, stem) for (split, _), stem in chosen]
    sheet = contact_sheet([(s.stem, s.image[..., ::-1], s.mask) for s in samples])
    Image.fromarray(sheet).save(out / 'contact_sheet.jpg', quality=JPEG_QUALITY)
    return out


def read_sample(out: Path, split: str, stem: str) -> Sample:
    """A pair that `write_dataset` wrote."""
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


def _clear(out: Path, overwrite: bool) -> None:
    """Remove the synthetic set in `out`, if that was asked for; never anything else."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileExistsError(f'{out} is a file; choose a folder')
    if any(out.iterdir()) and not overwrite:
        raise FileExistsError(
            f'{out} is not empty; choose another folder, or pass --overwrite (overwrite=True) to '
            'replace the set in it'
        )
    earlier = [
        path
        for split in SPLITS
        for folder, ending in (('im', 'jpg'), ('gt', 'png'))
        for path in (out / split / folder).glob(f'*.{ending}')
    ]
    if earlier and not (out / RECORD).is_file():
        raise FileExistsError(
            f'{out} holds {len(earlier)} images but no {RECORD}: they were not drawn here and will '
            'not be replaced; choose another folder'
        )
    for path in earlier:
        path.unlink()


def _check(
    num_train: int, num_val: int, seed: int, size: tuple[int, int], workers: int | None
) -> None:
    if num_train < 0 or num_val < 0 or num_train + num_val == 0:
        raise ValueError(
            f'expected numbers of images of 0 or more and not both 0, got num_train={num_train}, '
            f'num_val={num_val}'
        )
    if seed < 0:
        raise ValueError(f'expected a seed of 0 or more, got {seed}')
    if len(size) != 2 or min(size) < MIN_SIDE:
        raise ValueError(
            f'expected a size of two sides of {MIN_SIDE} pixels or more, got {tuple(size)}; thin '
            'structures cannot be drawn in less'
        )
    if workers is not None and workers < 1:
        raise ValueError(f'expected 1 worker or more, got {workers}; leave it out for one per core')
