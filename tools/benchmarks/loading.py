#!/usr/bin/env python
"""Measures images per second that one core prepares for training: released recipe and ours.

    python tools/benchmarks/loading.py [--widths 2048 3000 4096] [--images 2] [--draws 20]
        [--repeats 3] [--data DIR ...] [--out FILE.json]

Synthetic images and masks of 3:2 are written to a temporary folder, as JPEG with a PNG mask (like
DIS5K) and as PNG, or taken from --data. They are read and brought to 1024x1024 in two ways, in turn
in one process with one thread:

* the recipe of DiffDIS' released loader, in Pillow and NumPy: mirror, crop, rotate, change colours,
  resize. It reads edges that a script made beforehand; here they are made on the fly, which takes
  less time than decoding them;
* the training pipeline of the DiffDIS config, including packing into tensors.

Both use the same random numbers, so that their results can be compared pixel by pixel; one draw in
five rotates, the average of the pipeline. Neither stretches to [-1, 1], which the release does in
its loader and we do on the device. Times are CPU times of the process, the minimum of the repeats,
with the files in the system's cache.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from mmengine.dataset import Compose

CONFIG = Path(__file__).parents[2] / 'configs/_base_/datasets/dis5k_1024x1024.py'
SIDE = 1024
FORMATS = {'JPEG': 'jpg', 'PNG': 'png'}
MAPS = ('image', 'mask', 'edge')


class Augmentation(NamedTuple):
    """Random numbers of one augmentation.

    Attributes:
        border: Pixels cropped of the width and of the height.
        angle: Angle of the rotation in degrees; None: no rotation.
        factors: Factors of brightness, contrast, colour and sharpness.
        mirror: Whether left and right are swapped.
    """

    border: tuple[int, int]
    angle: float | None
    factors: tuple[float, ...]
    mirror: bool


def draw_augmentation(seed: int) -> Augmentation:
    """Returns the numbers that the config's pipeline draws after `np.random.seed(seed)`."""
    import numpy as np

    rng = np.random.RandomState(seed)
    border = rng.randint(1, 31), rng.randint(1, 31)
    rotate, angle = rng.rand() < 0.2, rng.uniform(-15, 15)
    ranges = ((0.5, 1.5), (0.5, 1.5), (0, 2), (0, 3))
    factors = tuple(rng.uniform(low, high) for low, high in ranges)
    return Augmentation(border, angle if rotate else None, factors, rng.rand() < 0.5)


def choose_seeds(count: int) -> list[int]:
    """Returns the first seeds of which one in five rotates."""
    missing = {True: count // 5, False: count - count // 5}
    seeds = []
    for seed in itertools.count():
        rotates = draw_augmentation(seed).angle is not None
        if missing[rotates]:
            missing[rotates] -= 1
            seeds.append(seed)
        if len(seeds) == count:
            return seeds


def load_as_released(
    image_path: str, mask_path: str, augmentation: Augmentation
) -> list[np.ndarray]:
    """Returns image [1024, 1024, 3] RGB, mask and edge [1024, 1024], uint8."""
    import cv2
    import numpy as np
    from PIL import Image, ImageEnhance

    image = Image.open(image_path).convert('RGB')
    mask = Image.open(mask_path).convert('L')
    grey, kernel = np.array(mask), np.ones((5, 5), np.uint8)
    edge = cv2.dilate(grey, kernel) - cv2.erode(grey, kernel)
    edge[edge < 6] = 0
    edge[edge >= 6] = 255
    maps = [image, mask, Image.fromarray(edge)]
    if augmentation.mirror:
        maps = [m.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for m in maps]
    width, height = image.size
    left, top = augmentation.border[0] // 2, augmentation.border[1] // 2
    if (
        augmentation.mirror
    ):  # our pipeline mirrors last, so the same window begins on the other side
        left = augmentation.border[0] - left
    right, bottom = left + width - augmentation.border[0], top + height - augmentation.border[1]
    maps = [m.crop((left, top, right, bottom)) for m in maps]
    if augmentation.angle is not None:
        # the sign changes for the same reason
        angle = -augmentation.angle if augmentation.mirror else augmentation.angle
        maps = [m.rotate(angle, Image.Resampling.BICUBIC) for m in maps]
    enhancers = ('Brightness', 'Contrast', 'Color', 'Sharpness')
    for name, factor in zip(enhancers, augmentation.factors, strict=True):
        maps[0] = getattr(ImageEnhance, name)(maps[0]).enhance(factor)
    return [np.array(m.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for m in maps]


def as_arrays(packed: dict) -> list[np.ndarray]:
    """Returns the output of the pipeline in the form of `load_as_released`."""
    import numpy as np

    sample = packed['data_samples']
    image = packed['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
    fields = [sample.get(name).data[0].numpy() for name in ('gt_alpha', 'gt_edge_map')]
    return [image, *(np.rint(field * 255).astype(np.uint8) for field in fields)]


def write_pairs(root: Path, width: int, images: int) -> None:
    """Writes synthetic pairs to `root/<JPEG or PNG>/{im,gt}`."""
    import cv2

    from mmdiffdis.synthetic import draw_sample

    for index in range(images):
        sample = draw_sample(0, 'DIS-TR', index, width * 2 // 3, width)
        for name, suffix in FORMATS.items():
            for folder in ('im', 'gt'):
                (root / name / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / 'im' / f'{sample.stem}.{suffix}'), sample.image)
            cv2.imwrite(str(root / name / 'gt' / f'{sample.stem}.png'), sample.mask)


def compare(folder: Path, pipeline: Compose, draws: int, repeats: int) -> dict:
    """Returns images per second of both, and mean and standard deviation of their results."""
    import numpy as np
    from tqdm import tqdm

    from mmdiffdis.datasets import DIS5KDataset

    dataset = DIS5KDataset(data_root=folder)
    seconds = {'released': 0.0, 'ours': 0.0}
    sums = {name: np.zeros((3, 2)) for name in seconds}
    difference = np.zeros(3)
    seeds = choose_seeds(draws)
    for number, seed in enumerate(tqdm(seeds, desc=f'{folder.parent.name} {folder.name}')):
        item = dataset.get_data_info(number % len(dataset))
        augmentation = draw_augmentation(seed)
        times = {'released': [], 'ours': []}
        for _ in range(repeats):
            start = time.process_time()
            released = load_as_released(item['img_path'], item['seg_map_path'], augmentation)
            middle = time.process_time()
            np.random.seed(seed)
            packed = pipeline(item)
            times['ours'].append(time.process_time() - middle)
            times['released'].append(middle - start)
        maps = {'released': released, 'ours': as_arrays(packed)}
        for name in seconds:
            seconds[name] += min(times[name])
            sums[name] += [(m.mean(), m.std()) for m in maps[name]]
        pairs = zip(*maps.values(), strict=True)
        difference += [np.abs(theirs.astype(int) - ours).mean() for theirs, ours in pairs]
    return {
        'images_per_second': {name: draws / total for name, total in seconds.items()},
        'ratio': seconds['released'] / seconds['ours'],
        'mean_and_std': {
            name: dict(zip(MAPS, (total / draws).tolist(), strict=True))
            for name, total in sums.items()
        },
        'mean_difference': dict(zip(MAPS, (difference / draws).tolist(), strict=True)),
        'draws': draws,
        'rotated': sum(draw_augmentation(seed).angle is not None for seed in seeds),
    }


def to_tables(results: dict[str, dict]) -> str:
    """Returns Markdown tables of speeds and of statistics in grey levels."""
    from mmdiffdis.utils.tables import markdown

    speeds, statistics = [], []
    for name, result in results.items():
        speed = [f'{value:.2f}' for value in result['images_per_second'].values()]
        speeds.append([name, f'{result["rotated"]}/{result["draws"]}', *speed])
        speeds[-1].append(f'{result["ratio"]:.2f}')
        for kind in MAPS:
            cells = [
                f'{mean:.2f} ± {std:.2f}'
                for mean, std in (maps[kind] for maps in result['mean_and_std'].values())
            ]
            statistics.append([name, kind, *cells, f'{result["mean_difference"][kind]:.2f}'])
    return '\n\n'.join(
        [
            markdown(['files', 'rotated', 'released, images/s', 'ours, images/s', 'ratio'], speeds),
            markdown(['files', 'map', 'released', 'ours', 'mean difference'], statistics),
        ]
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--widths',
        nargs='+',
        type=int,
        default=[2048, 3000, 4096],
        metavar='W',
        help='widths of the synthetic images',
    )
    parser.add_argument(
        '--images', type=int, default=2, metavar='N', help='images per width and format'
    )
    parser.add_argument(
        '--draws', type=int, default=20, metavar='N', help='augmentations of these images'
    )
    parser.add_argument(
        '--repeats', type=int, default=3, metavar='N', help='repeats of each augmentation'
    )
    parser.add_argument(
        '--data', nargs='+', type=Path, metavar='DIR', help='folders of im/ and gt/ instead'
    )
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='also write the results here')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    import cv2
    import torch
    from mmengine.config import Config
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    from mmdiffdis.cli import one_line_errors
    from mmdiffdis.utils.files import check_writable, save_json

    with one_line_errors():
        if args.out:
            check_writable(args.out)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    init_default_scope('mmseg')
    pipeline = Compose(Config.fromfile(CONFIG).train_pipeline)
    results = {
        str(folder): compare(folder, pipeline, args.draws, args.repeats)
        for folder in args.data or ()
    }
    with tempfile.TemporaryDirectory() as folder:
        for width in () if args.data else args.widths:
            root = Path(folder) / str(width)
            write_pairs(root, width, args.images)
            for kind in FORMATS:
                name = f'{width}x{width * 2 // 3} {kind}'
                results[name] = compare(root / kind, pipeline, args.draws, args.repeats)
    if args.out:
        save_json(results, args.out)
    print(to_tables(results))


if __name__ == '__main__':
    main()
