#!/usr/bin/env python
"""Everything once, on a CPU, in a few minutes: `make demo`.

Draws a set, trains the tiny DiffDIS on it from scratch, scores it and the shipped checkpoint on
images that neither has seen, predicts photographs, and prints one table.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from matplotlib import pyplot as plt
from mmengine.config import Config
from PIL import Image
from skimage import data as photographs
from tqdm import tqdm

import mmdiffdis  # noqa: F401, checks what is installed
from mmdiffdis.evaluation import PAPER_MEASURES, PROTOCOLS, apply_protocol, measure_image, summarise
from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD
from mmdiffdis.images.reading import read_rgb
from mmdiffdis.synthetic import write_dataset

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/diffdis/diffdis_tiny_1xb8-demo_synthetic-dis-latents-256x256.py'
# The same model on pictures: whose latents the one above learns from.
PICTURES_CONFIG = CONFIG.with_name('diffdis_tiny_1xb8-1k2_synthetic-dis-256x256.py')
SHIPPED = 'mmdiffdis://diffdis_tiny'
# At the size that both models are used at: lines survive the VAE that do not at 256 pixels.
TEST_CONFIG = CONFIG.with_name('diffdis_tiny_1xb8-1k2_synthetic-dis-384x384.py')
# The shipped checkpoint was trained on the images of seed 0.
FIRST_SEED = 1000
PHOTOGRAPHS = ('astronaut', 'cat', 'coffee', 'rocket')


def parse_args() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=Path('demo_out'), help='folder for everything')
    parser.add_argument('--seed', type=int, default=0, help='of the images drawn and the training')
    parser.add_argument('--num-train', type=int, default=800, help='images to train on')
    parser.add_argument('--num-val', type=int, default=64, help='images to score')
    parser.add_argument('--iters', type=int, help="training steps instead of the config's")
    parser.add_argument(
        '--photos', nargs='+', help="your own photographs instead of scikit-image's"
    )
    return parser.parse_args()


def run(tool: str, *arguments) -> None:
    """One of the tools, as a user would call it; its failure is this program's."""
    command = [sys.executable, f'tools/{tool}.py', *map(str, arguments)]
    print('$', 'python', *command[1:], flush=True)
    result = subprocess.run(command, cwd=ROOT)
    if result.returncode:
        sys.exit(f'demo: {tool} failed with exit code {result.returncode}')


def train(args: argparse.Namespace, folder: Path) -> Path:
    """The checkpoint of the model trained from scratch."""
    latents = args.data / 'latents.safetensors'
    run(
        'dataset_converters/encode_latents',
        PICTURES_CONFIG,
        '--amp',
        '--out',
        latents,
        '--seed',
        args.seed,
        '--cfg-options',
        f'train_dataloader.dataset.data_root={args.data}',
    )
    options = [f'train_dataloader.dataset.latent_file={latents}']
    for loader in ('val', 'test'):
        options.append(f'{loader}_dataloader.dataset.data_root={args.data}')
    if args.iters:
        options += [
            f'train_cfg.max_iters={args.iters}',
            f'train_cfg.val_interval={max(1, args.iters // 3)}',
            f'param_scheduler.0.end={max(1, args.iters // 15)}',
            f'param_scheduler.1.begin={max(1, args.iters // 15)}',
            f'param_scheduler.1.end={args.iters}',
        ]
    run(
        'train',
        CONFIG,
        '--amp',
        '--work-dir',
        folder,
        '--seed',
        args.seed,
        '--cfg-options',
        *options,
    )
    return Path((folder / 'last_checkpoint').read_text().strip())


def test(
    args: argparse.Namespace, config: Path, checkpoint: Path | str, out: Path
) -> dict[str, float]:
    """The figures of a checkpoint on the images that were held out."""
    options = [f'test_dataloader.dataset.data_root={args.data}', 'model.test_cfg.edge=True']
    options.append('log_level=WARNING')  # or the whole config is printed
    work_dir = out.with_suffix('')
    run('test', config, checkpoint, '--out', out, '--work-dir', work_dir, '--cfg-options', *options)
    return json.loads(out.read_text())['metrics']


def constant(image: np.ndarray, share: float) -> np.ndarray:
    """The same probability everywhere: the share of foreground in the training masks."""
    return np.full(image.shape[:2], share)


def otsu(image: np.ndarray, share: float) -> np.ndarray:
    """Otsu's threshold of the grey image; foreground is the side that the border has less of."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    _, mask = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return (1.0 - mask) if border.mean() > 0.5 else mask.astype(float)


def grabcut(image: np.ndarray, share: float) -> np.ndarray:
    """GrabCut from a rectangle in the centre, an eighth of each side away from the border."""
    height, width = image.shape[:2]
    rectangle = (width // 8, height // 8, width - width // 4, height - height // 4)
    mask, models = np.zeros((height, width), np.uint8), np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(image, mask, rectangle, *models, 5, cv2.GC_INIT_WITH_RECT)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(float)


def score_trivial(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of the methods that know nothing, on the same images under the same protocol."""
    read = lambda path: np.asarray(Image.open(path).convert('L'))  # noqa: E731
    share = float(np.mean([read(p).mean() / 255 for p in (args.data / 'DIS-TR/gt').iterdir()]))
    methods = {'constant': constant, "Otsu's threshold": otsu, 'GrabCut from the centre': grabcut}
    rows = {name: [] for name in methods}
    for path in tqdm(sorted((args.data / 'DIS-VD/im').iterdir()), desc='trivial methods'):
        image = read_rgb(path)
        truth = read(path.parents[1] / 'gt' / f'{path.stem}.png') / 255 > TRUTH_THRESHOLD
        for name, method in methods.items():
            prediction = apply_protocol(method(image, share), **PROTOCOLS['soft'])
            rows[name].append(measure_image(prediction, truth, PAPER_MEASURES))
    return {name: summarise(each, PAPER_MEASURES) for name, each in rows.items()}


def save_photographs(folder: Path) -> list[Path]:
    """Real photographs that scikit-image brings along."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{name}.png' for name in PHOTOGRAPHS]
    for name, path in zip(PHOTOGRAPHS, paths, strict=True):
        Image.fromarray(getattr(photographs, name)()).save(path)
    return paths


def plot_training(folder: Path, out: Path) -> None:
    """Loss and score over the steps of the training in `folder`, as a picture."""
    (log,) = folder.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout='constrained')
    for axis, name in zip(axes, ('loss', 'maxF'), strict=True):
        points = [(row['step'], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points, strict=True), marker='o', markersize=3)
        axis.set(xlabel='step', ylabel=name)
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=120)


def main() -> None:
    """The demo, step by step."""
    start = time.perf_counter()
    args = parse_args()
    args.out = args.out.resolve()
    args.data = args.out / 'synthetic_dis'
    training, results = args.out / 'training', args.out / 'metrics'
    for folder in (training, results):
        shutil.rmtree(folder, ignore_errors=True)

    print('\n1. Draw images and masks')
    write_dataset(
        args.data, args.num_train, args.num_val, seed=FIRST_SEED + args.seed, overwrite=True
    )
    print('\n2. Train the tiny DiffDIS from scratch')
    trained = train(args, training)
    plot_training(training, args.out / 'training.png')
    print('\n3. Score on images that no model has seen')
    table = score_trivial(args)
    steps = Config.fromfile(training / CONFIG.name).train_cfg.max_iters
    table[f'DiffDIS tiny, {steps} steps'] = test(
        args, TEST_CONFIG, trained, results / 'trained.json'
    )
    table['DiffDIS tiny, as shipped'] = test(args, TEST_CONFIG, SHIPPED, results / 'shipped.json')
    (results / 'all.json').write_text(json.dumps(table, indent=2) + '\n')
    print('\n4. Predict photographs')
    photos = args.photos or save_photographs(args.out / 'photos')
    for kind in ('mask', 'panel'):
        run(
            'predict',
            TEST_CONFIG,
            SHIPPED,
            *photos,
            '--out',
            args.out / f'{kind}s',
            '--type',
            kind,
            '--overwrite',  # of an earlier demo, whose photographs were written anew
        )

    print(f'\nOn {args.num_val} images, protocol "soft", single scale, seed 0:\n')
    print(f'{"":28}' + ''.join(f'{measure:>8}' for measure in PAPER_MEASURES))
    for name, figures in table.items():
        print(f'{name:28}' + ''.join(f'{figures[measure]:8.3f}' for measure in PAPER_MEASURES))
    panels = sorted((results / 'shipped' / 'panels' / 'test').iterdir())
    print(f"""
drawn images     {args.data / 'contact_sheet.jpg'}
loss and score   {args.out / 'training.png'}
panels           {panels[0]} and {len(panels) - 1} more
metrics          {results / 'all.json'}
masks of photos  {args.out / 'masks'}
photos in panels {args.out / 'panels'}
{time.perf_counter() - start:.0f} seconds in all""")


if __name__ == '__main__':
    main()
