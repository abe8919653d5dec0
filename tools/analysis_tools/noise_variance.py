#!/usr/bin/env python
"""Measures how much masks depend on the noise that prediction starts from (paper, Figure 4):

    python tools/analysis_tools/noise_variance.py INPUT... --out DIR --seeds 10 \\
        --model CONFIG CKPT [--model CONFIG CKPT ...]

Each model predicts each image once per seed. `DIR/<stem>.png` has a row for each model, numbered in
their order: the image, the mean of its masks, and the standard deviation of each pixel over the
seeds, from black (none) to the brightest colour (the largest of all models). The printed table and
`DIR/noise_variance.json`, which is written after every image, have its mean over the pixels,
between 0 and 0.5 for masks in [0, 1]. Images that cannot be read are reported at the end, and the
others are measured.

Exit code: 0 if everything was measured, 1 if not.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from mmdiffdis.apis import DISInferencer


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
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


def load_model(config: str, checkpoint: str, device: str | None) -> 'DISInferencer':
    """Returns an inferencer of a model with noise.

    Raises:
        ValueError: If the model starts from no noise.
    """
    from mmdiffdis.apis import DISInferencer

    inferencer = DISInferencer(config, checkpoint, device)
    if not hasattr(inferencer.model, 'noise'):
        kind = type(inferencer.model).__name__
        raise ValueError(f'{config}: {kind} starts from no noise; expected a DiffusionSegmentor')
    return inferencer


class Spread(NamedTuple):
    """Masks of one image over N seeds.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        mean: float32 [H, W], mean of the masks.
        deviation: float32 [H, W], standard deviation of each pixel (divisor N).
    """

    image: 'np.ndarray'
    mean: 'np.ndarray'
    deviation: 'np.ndarray'


def predict_with_seeds(inferencer: 'DISInferencer', image: Path, num_seeds: int) -> Spread:
    """Predicts an image with seeds 0 to `num_seeds` - 1."""
    import numpy as np

    results = []
    for seed in range(num_seeds):
        inferencer.model.test_cfg['seed'] = seed
        results.append(inferencer(image))
    masks = np.stack([result.mask for result in results])
    return Spread(results[0].image, masks.mean(axis=0), masks.std(axis=0))


def draw(spreads: list[Spread], max_side: int = 384) -> 'np.ndarray':
    """Returns uint8 [H', W', 3] with a row for each model: image, mean mask and deviation."""
    import cv2
    import numpy as np

    from mmdiffdis.images.panels import row

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


def main(argv: list[str] | None = None) -> int:
    """Predicts, draws and prints; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    import numpy as np
    from PIL import Image
    from tqdm import tqdm

    from mmdiffdis.apis import find_pictures, name_results
    from mmdiffdis.apis.decoding import IMAGE_ERRORS, reason
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.files import (
        atomic_write,
        check_writable,
        refuse_folder_of_inputs,
        save_json,
    )
    from mmdiffdis.utils.tables import markdown

    scores = args.out / 'noise_variance.json'
    models = [dict(config=c, checkpoint=w, deviation=0.0, pictures={}) for c, w in args.model]
    skipped = []
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.seeds < 2:
            raise ValueError(f'--seeds {args.seeds}: expected at least 2')
        refuse_folder_of_inputs(args.out, map(Path, args.input))
        images = find_pictures(args.input)
        paths = name_results(images, args.out)
        check_writable(scores)
        inferencers = [load_model(*model, args.device) for model in args.model]
        for image, path in zip(tqdm(images, unit='image'), paths, strict=True):
            try:
                spreads = [predict_with_seeds(model, image, args.seeds) for model in inferencers]
            except IMAGE_ERRORS as error:
                skipped.append(f'{image}: {reason(error)}')
                continue
            for model, spread in zip(models, spreads, strict=True):
                model['pictures'][str(image)] = float(spread.deviation.mean())
                model['deviation'] = float(np.mean(list(model['pictures'].values())))
            save_json(dict(seeds=list(range(args.seeds)), models=models), scores)
            with atomic_write(path) as unfinished:  # does not write through a link
                Image.fromarray(draw(spreads)).save(unfinished)
    for line in skipped:
        print(f'skipped {line}', file=sys.stderr)
    rows = []
    for number, model in enumerate(models, start=1):
        names = Path(model['config']).stem, Path(model['checkpoint']).name
        rows.append([number, *names, len(model['pictures']), f'{model["deviation"]:.5f}'])
    if len(skipped) < len(images):
        print(markdown(['model', 'config', 'checkpoint', 'images', 'mean deviation'], rows))
        print(f'\nover seeds 0 to {args.seeds - 1}; images in {args.out}')
    return 1 if skipped else 0


if __name__ == '__main__':
    sys.exit(main())
