#!/usr/bin/env python
"""How much masks depend on the noise they start from (the paper's Figure 4):

    python tools/analysis_tools/noise_variance.py INPUT... --out DIR --seeds 10 \\
        --model CONFIG CKPT [--model CONFIG CKPT ...]

Each model predicts each picture once a seed; the standard deviation of every pixel over the seeds
is written as a picture, its mean as a number. `DIR/<stem>.png` has a row for each model, numbered
in their order: the picture, the mean of its masks, and the deviation, black where there is none,
the brightest colour being the largest of all models. `DIR/noise_variance.json` and the table that
is printed have the numbers, which lie between 0 and 0.5, masks being in [0, 1].
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from mmdiffdis.apis import DISInferencer, find_pictures, name_results
from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
from mmdiffdis.images.panels import row
from mmdiffdis.utils.tables import markdown


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', nargs='+', help='files, folders or glob patterns')
    parser.add_argument(
        '--model',
        nargs=2,
        action='append',
        required=True,
        metavar=('CONFIG', 'CKPT'),
        help='a model; several are compared',
    )
    parser.add_argument('--seeds', type=int, default=10, metavar='N', help='seeds 0 to N - 1')
    parser.add_argument('--out', required=True, type=Path, metavar='DIR')
    parser.add_argument('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    return parser.parse_args(argv)


def load_model(config: str, checkpoint: str, device: str | None) -> DISInferencer:
    """An inferencer whose noise has a seed.

    Raises:
        ValueError: The model starts from no noise.
    """
    inferencer = DISInferencer(config, checkpoint, device)
    if not hasattr(inferencer.model, 'noise'):
        kind = type(inferencer.model).__name__
        raise ValueError(
            f'{config}: its {kind} starts from no noise; expected a DiffusionSegmentor.'
        )
    return inferencer


@dataclass(frozen=True)
class Spread:
    """What N seeds made of one picture.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        mean: float32 [H, W], mean of the masks.
        deviation: float32 [H, W], standard deviation of each pixel over these seeds (divisor N).
    """

    image: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def predict_with_seeds(inferencer: DISInferencer, picture: Path, num_seeds: int) -> Spread:
    """The masks of seeds 0 to `num_seeds` - 1, summarised."""
    results = []
    for seed in range(num_seeds):
        inferencer.model.test_cfg['seed'] = seed
        results.append(inferencer(picture))
    masks = np.stack([result.mask for result in results])
    return Spread(results[0].image, masks.mean(axis=0), masks.std(axis=0))


def draw(spreads: list[Spread], max_side: int = 384) -> np.ndarray:
    """uint8 [H', W', 3]: one row a model: picture, mean mask and deviation."""
    brightest = max(spread.deviation.max() for spread in spreads) or 1.0
    rows = []
    for number, spread in enumerate(spreads, start=1):
        level = np.rint(spread.deviation / brightest * 255).astype(np.uint8)
        heat = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]  # RGB
        parts = {
            f'{number}: image': spread.image,
            f'{number}: mean mask': spread.mean,
            f'{number}: deviation {spread.deviation.mean():.4f}': heat,
        }
        rows.append(row(parts, max_side))
    return np.vstack(rows)


def to_table(models: list[dict]) -> str:
    """Markdown: a row a model, numbered as in the pictures."""
    rows = []
    for number, model in enumerate(models, start=1):
        names = Path(model['config']).stem, Path(model['checkpoint']).name
        rows.append([number, *names, len(model['pictures']), f'{model["deviation"]:.5f}'])
    return markdown(['model', 'config', 'checkpoint', 'pictures', 'mean deviation'], rows)


def main(argv: list[str] | None = None) -> None:
    """Predicts, draws and counts."""
    args = parse_args(argv)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.seeds < 2:
            raise ValueError(f'--seeds {args.seeds}: a deviation takes at least 2.')
        pictures = find_pictures(args.input)
        paths = name_results(pictures, args.out)
        inferencers = [load_model(*model, args.device) for model in args.model]
        args.out.mkdir(parents=True, exist_ok=True)
        models = [dict(config=c, checkpoint=w, deviation=0.0, pictures={}) for c, w in args.model]
        for picture, path in zip(tqdm(pictures, unit='picture'), paths, strict=True):
            spreads = [predict_with_seeds(model, picture, args.seeds) for model in inferencers]
            Image.fromarray(draw(spreads)).save(path)
            for model, spread in zip(models, spreads, strict=True):
                model['pictures'][str(picture)] = float(spread.deviation.mean())
    for model in models:
        model['deviation'] = float(np.mean(list(model['pictures'].values())))
    figures = dict(seeds=list(range(args.seeds)), models=models)
    (args.out / 'noise_variance.json').write_text(json.dumps(figures, indent=2) + '\n')
    print(f'{to_table(models)}\n\nover seeds 0 to {args.seeds - 1}; pictures in {args.out}')


if __name__ == '__main__':
    main()
