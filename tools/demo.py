#!/usr/bin/env python
"""Draws a synthetic set, trains the tiny DiffDIS on it, scores and predicts; a few CPU minutes.

The model trained from scratch, the shipped checkpoint and three methods without training are scored
on images that no model has seen. Then the shipped models are scored on twelve photographs with
masks, and photographs are cut out by the default of predict.py, U2-Net-p.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'diffdis_tiny_1xb8-demo_synthetic-dis-latents-256x256'
# The same model on images, which encodes the latents that CONFIG trains on.
LATENTS_CONFIG = 'diffdis_tiny_1xb8-1k2_synthetic-dis-256x256'
SHIPPED = 'mmdiffdis://diffdis_tiny'
SHIPPED_ROW = 'DiffDIS tiny, as shipped'
# Larger images than in training: thin lines survive the VAE that are lost at 256 pixels.
TEST_CONFIG = 'diffdis_tiny_1xb8-1k2_synthetic-dis-384x384'
FIRST_SEED = 1000  # the shipped checkpoint was trained on the images of seed 0
PHOTOGRAPHS = ROOT / 'tools' / 'demo_photographs'
RECORD = 'demo.json'
EMPTIED = ('training', 'metrics')
RESULTS = ('training.png', 'cutouts', 'panels')  # that a demo writes beside these


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=Path('demo_out'), help='folder for all results')
    parser.add_argument('--seed', type=int, default=0, help='seed of the images and the training')
    parser.add_argument('--num-train', type=int, default=800, help='number of training images')
    parser.add_argument('--num-val', type=int, default=64, help='number of images to score')
    parser.add_argument('--iters', type=int, help="training steps instead of the config's")
    parser.add_argument(
        '--photos',
        nargs='+',
        type=os.path.abspath,  # the tools run in another folder
        help='your own photographs to cut out, instead of the twelve',
    )
    return parser.parse_args(argv)


def run(tool: str, *arguments) -> None:
    """Runs one of the tools as a user would, and exits if it fails."""
    command = [sys.executable, f'tools/{tool}.py', *map(str, arguments)]
    print('$', 'python', *command[1:], flush=True)
    result = subprocess.run(command, cwd=ROOT)
    if result.returncode:
        sys.exit(f'demo: {tool} failed with exit code {result.returncode}')


def check_arguments(args: argparse.Namespace) -> None:
    """Raises ValueError or OSError for arguments that would fail after minutes."""
    from mmdiffdis.apis import find_pictures
    from mmdiffdis.images.reading import read_size

    for name, least in (('seed', 0), ('num_train', 1), ('num_val', 1), ('iters', 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f'--{name.replace("_", "-")} {value}: expected {least} or more')
    for photo in find_pictures(args.photos or []):
        read_size(photo)


def list_files(out: Path) -> set[str]:
    """Returns the files, below `out`, of the folders that a demo empties before it starts."""
    paths = [path for name in EMPTIED for path in (out / name).rglob('*')]
    return {path.relative_to(out).as_posix() for path in paths if not path.is_dir()}


def remove_earlier_demo(out: Path) -> None:
    """Removes training and metrics of an earlier demo, the files that its record lists.

    Raises:
        FileExistsError: If `out` has files in the places of results that no record lists.
    """
    record = out / RECORD
    listed = set(json.loads(record.read_text())['files']) if record.is_file() else set()
    others = list_files(out) - listed
    if not record.is_file():
        others |= {name for name in RESULTS if (out / name).exists()}
    if others:
        raise FileExistsError(
            f"'{out / min(others)}' is not listed in {record}, a demo's record of its files: "
            'choose another --out, or move it away'
        )
    for name in list_files(out):
        (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)
    record_files(out)


def record_files(out: Path) -> None:
    """Records what the demo has written so far into the folders that the next one empties."""
    (out / RECORD).write_text(json.dumps({'files': sorted(list_files(out))}, indent=2) + '\n')


def train(args: argparse.Namespace, data: Path, folder: Path) -> Path:
    """Trains the model from scratch and returns the path of its checkpoint."""
    import torch

    from mmdiffdis.utils.environment import is_emulated

    latents = data / 'latents.safetensors'
    amp = [] if is_emulated(torch.bfloat16) else ['--amp']
    options = [*amp, '--out', latents, '--seed', args.seed]
    options += ['--cfg-options', f'train_dataloader.dataset.data_root={data}']
    run('dataset_converters/encode_latents', LATENTS_CONFIG, *options)

    options = [*amp, '--work-dir', folder, '--seed', args.seed]
    options += ['--cfg-options', f'train_dataloader.dataset.latent_file={latents}']
    options += [f'{loader}_dataloader.dataset.data_root={data}' for loader in ('val', 'test')]
    if args.iters:
        options += [
            f'train_cfg.max_iters={args.iters}',
            f'train_cfg.val_interval={max(1, args.iters // 3)}',
        ]
    run('train', CONFIG, *options)
    return Path((folder / 'last_checkpoint').read_text().strip())


def test(config: str, checkpoint: Path | str, out: Path, *cfg_options: str) -> dict[str, float]:
    """Returns the scores of a checkpoint, protocol "soft"."""
    options = ['--out', out, '--work-dir', out.with_suffix(''), '--cfg-options', *cfg_options]
    options += ['test_evaluator.protocol=soft']
    options += ['log_level=WARNING']  # at INFO the whole config is printed
    run('test', config, checkpoint, *options)
    return json.loads(out.read_text())['metrics']


def constant(image: 'np.ndarray', share: float) -> 'np.ndarray':
    """Returns the share of foreground in the training masks as the probability of each pixel."""
    import numpy as np

    return np.full(image.shape[:2], share)


def otsu(image: 'np.ndarray', share: float) -> 'np.ndarray':
    """Returns the side of Otsu's threshold of the grey image that covers less of the border."""
    import cv2
    import numpy as np

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return (1.0 - mask) if border.mean() > 0.5 else mask.astype(float)


def grabcut(image: 'np.ndarray', share: float) -> 'np.ndarray':
    """Returns GrabCut's mask from a centred rectangle, an eighth of each side from the border."""
    import cv2
    import numpy as np

    height, width = image.shape[:2]
    rectangle = (width // 8, height // 8, width - width // 4, height - height // 4)
    mask, models = np.zeros((height, width), np.uint8), np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(image, mask, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(float)


def foreground_share(folder: Path) -> float:
    """Returns the share of foreground in a folder of masks."""
    import numpy as np

    return float(np.mean([read_grey(path).mean() / 255 for path in folder.iterdir()]))


def read_grey(path: Path) -> 'np.ndarray':
    """Returns an image in grey, uint8 [H, W]."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert('L'))


def score_untrained(folder: Path, share: float) -> dict[str, dict[str, float]]:
    """Returns the scores of methods without training, protocol "soft".

    Args:
        folder: Folder with `im/` and `gt/`.
        share: Share of foreground in the training masks.
    """
    from tqdm import tqdm

    from mmdiffdis.evaluation import (
        PAPER_MEASURES,
        PROTOCOLS,
        apply_protocol,
        measure_image,
        summarise,
    )
    from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD
    from mmdiffdis.images.reading import read_rgb

    methods = {'constant': constant, "Otsu's threshold": otsu, 'GrabCut from the centre': grabcut}
    scores = {name: [] for name in methods}
    for path in tqdm(sorted((folder / 'im').iterdir()), desc='methods without training'):
        image = read_rgb(path)
        mask = read_grey(folder / 'gt' / f'{path.stem}.png') / 255 > TRUTH_THRESHOLD
        for name, method in methods.items():
            prediction = apply_protocol(method(image, share), **PROTOCOLS['soft'])
            scores[name].append(measure_image(prediction, mask, PAPER_MEASURES))
    return {name: summarise(per_image, PAPER_MEASURES) for name, per_image in scores.items()}


def plot_training(folder: Path, out: Path) -> None:
    """Plots loss and maxF over the steps of the training in `folder`."""
    from matplotlib.figure import Figure

    (log,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    figure = Figure(figsize=(9, 3.2), layout='constrained')
    for axis, name in zip(figure.subplots(1, 2), ('loss', 'maxF'), strict=True):
        points = [(record['step'], record[name]) for record in records if name in record]
        axis.plot(*zip(*points, strict=True), marker='o', markersize=3)
        axis.set(xlabel='step', ylabel=name)
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


def write_table(table: dict[str, dict[str, float]], out: Path) -> None:
    """Writes the scores of each method as JSON."""
    out.write_text(json.dumps(table, indent=2) + '\n')


def print_table(table: dict[str, dict[str, float]]) -> None:
    """Prints a row of scores per method."""
    metrics = list(next(iter(table.values())))
    print(f'{"":28}' + ''.join(f'{metric:>8}' for metric in metrics))
    for name, scores in table.items():
        print(f'{name:28}' + ''.join(f'{scores[metric]:8.3f}' for metric in metrics))


def main() -> None:
    """Runs the demo."""
    args = parse_args()

    import mmdiffdis  # noqa: F401, isort: skip - first, it reports a missing or unsuitable MMEngine

    from mmdiffdis.cli import one_line_errors

    out = args.out.resolve()
    with one_line_errors((OSError, ValueError)):
        check_arguments(args)
        remove_earlier_demo(out)
        try:
            run_steps(args, out)
        finally:
            record_files(out)


def run_steps(args: argparse.Namespace, out: Path) -> None:
    """Runs the demo, step by step."""
    from mmengine.config import Config

    from mmdiffdis.synthetic import write_dataset

    start = time.perf_counter()
    data, training, results = out / 'synthetic_dis', out / 'training', out / 'metrics'
    print('\n1. Draw images and masks')
    write_dataset(data, args.num_train, args.num_val, seed=FIRST_SEED + args.seed, overwrite=True)
    print('\n2. Train the tiny DiffDIS from scratch')
    trained = train(args, data, training)
    plot_training(training, out / 'training.png')
    print('\n3. Score on images that no model has seen')
    share = foreground_share(data / 'DIS-TR' / 'gt')
    table = score_untrained(data / 'DIS-VD', share)
    steps = Config.fromfile(training / f'{CONFIG}.py').train_cfg.max_iters
    options = [f'test_dataloader.dataset.data_root={data}', 'model.test_cfg.edge=True']
    row = f'DiffDIS tiny, {steps} steps'
    table[row] = test(TEST_CONFIG, trained, results / 'trained.json', *options)
    table[SHIPPED_ROW] = test(TEST_CONFIG, SHIPPED, results / 'shipped.json', *options)
    write_table(table, results / 'all.json')
    print('\n4. Score on photographs, and cut them out')
    photo_table = score_untrained(PHOTOGRAPHS, share)
    options = [f'test_dataloader.dataset.data_root={PHOTOGRAPHS}']
    options += ["test_dataloader.dataset.subset=''"]
    for row, model in (
        (SHIPPED_ROW, 'diffdis_tiny'),
        ('DiffDIS small, as shipped', 'diffdis_small'),
        ('U2-Net-p, as shipped', 'u2netp'),
    ):
        out_file = results / f'{model}_on_photographs.json'
        photo_table[row] = test(model, model, out_file, *options)
    write_table(photo_table, results / 'photographs.json')
    photographs = args.photos or [PHOTOGRAPHS / 'im']
    for kind in ('cutout', 'panel'):
        run('predict', *photographs, '--out', out / f'{kind}s', '--type', kind)

    print(f'\nOn {args.num_val} images, protocol "soft", single scale, seed 0:\n')
    print_table(table)
    print('\nOn 12 photographs, likewise:\n')
    print_table(photo_table)
    panels = sorted((results / 'shipped' / 'panels' / 'test').iterdir())
    print(f"""
synthetic images {data / 'contact_sheet.jpg'}
loss and maxF    {out / 'training.png'}
panels           {panels[0]} and {len(panels) - 1} more
scores           {results / 'all.json'}, {results / 'photographs.json'}
cut-outs         {out / 'cutouts'}
photos in panels {out / 'panels'}
{time.perf_counter() - start:.0f} seconds in total""")


if __name__ == '__main__':
    main()
