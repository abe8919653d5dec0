#!/usr/bin/env python
"""Draws the samples that a config trains on:

    python tools/analysis_tools/browse_dataset.py CONFIG [--out DIR] [--num N] [--seed S]
        [--cfg-options KEY=VALUE ...]

`DIR/<number>_<stem>.jpg` has two rows of image | mask | edge: as the training pipeline returns
them, and as the model receives them from its data preprocessor, which mixes the samples of a batch
(CutMix) and may stretch each map to its full range. Batches have the config's size; no weights are
needed. For a config that trains on latents (`LatentDataset`), browse the config that they were
encoded with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from mmengine.config import Config
    from mmseg.structures import SegDataSample


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='path or name of a config')
    parser.add_argument('--out', type=Path, metavar='DIR', help='default: browse/ in the work dir')
    parser.add_argument('--num', type=int, default=16, metavar='N', help='number of samples')
    parser.add_argument('--seed', type=int, default=0, help='seed of the augmentation')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',  # the option may be repeated
        default=[],
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.batch_size=2 '
        'model.data_preprocessor.cutmix=None',
    )
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error(f'--num {args.num}: expected 1 or more')
    return args


def main(argv: list[str] | None = None) -> None:
    """Draws and writes."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    import numpy as np
    import torch
    from mmengine.registry import init_default_scope
    from PIL import Image

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.cli import BUILD_ERRORS, one_line_errors

    with one_line_errors(BUILD_ERRORS):
        config = load_config(
            args.config, options=args.cfg_options, needs=['model', 'train_dataloader']
        )
        init_default_scope(config.get('default_scope', 'mmseg'))
        np.random.seed(args.seed)
        torch.manual_seed(args.seed)
        samples = draw_batches(config, args.num)
    out = args.out or Path(config.work_dir) / 'browse'
    out.mkdir(parents=True, exist_ok=True)
    for number, (stem, image) in enumerate(samples):
        Image.fromarray(image).save(out / f'{number:03}_{stem}.jpg', quality=92)
    print(f'{len(samples)} samples in {out}')


def draw_batches(config: Config, num: int) -> list[tuple[str, np.ndarray]]:
    """Returns (stem, uint8 RGB image) of `num` samples, evenly spread over the training set.

    Raises:
        ValueError: If the config trains on latents.
    """
    from mmengine.dataset import pseudo_collate
    from mmseg.registry import DATASETS, MODELS
    from tqdm import tqdm

    from mmdiffdis.images.panels import row, stack_rows
    from mmdiffdis.structures import image_stem

    dataset = DATASETS.build(config.train_dataloader.dataset)
    preprocessor = MODELS.build(config.model.data_preprocessor)
    # our attribute, and that of mmseg's preprocessors
    is_rgb = getattr(preprocessor, 'bgr_to_rgb', getattr(preprocessor, 'channel_conversion', True))
    indices = [i * len(dataset) // num for i in range(num)]
    batch_size = config.train_dataloader.batch_size
    samples = []
    for start in tqdm(range(0, num, batch_size), unit='batch'):
        packed = [dataset[index] for index in indices[start : start + batch_size]]
        if isinstance(packed[0]['inputs'], dict):
            raise ValueError(
                'the config trains on latents, expected images; browse the config that they were '
                'encoded with (CONFIG of tools/dataset_converters/encode_latents.py)'
            )
        upper_rows = []
        for item in packed:
            image = item['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
            upper_rows.append(row({'image': image, **ground_truth(item['data_samples'])}))
        batch = preprocessor(pseudo_collate(packed), training=True)
        for upper, inputs, sample in zip(
            upper_rows, batch['inputs'], batch['data_samples'], strict=True
        ):
            parts = {'image': to_rgb_levels(inputs, is_rgb), **ground_truth(sample)}
            lower = row({f'{caption}, as fed': part for caption, part in parts.items()})
            samples.append((image_stem(sample), stack_rows([upper, lower])))
    return samples


def ground_truth(sample: SegDataSample) -> dict[str, np.ndarray]:
    """Returns the mask and edge [H, W] in [0, 1] that a sample has."""
    names = {'mask': 'gt_alpha' if 'gt_alpha' in sample else 'gt_sem_seg', 'edge': 'gt_edge_map'}
    return {
        caption: sample.get(name).data[0].float().numpy()
        for caption, name in names.items()
        if name in sample
    }


def to_rgb_levels(inputs: torch.Tensor, is_rgb: bool) -> np.ndarray:
    """Returns a model's input [3, H, W], stretched to its range, as uint8 [H, W, 3] RGB."""
    import numpy as np

    from mmdiffdis.models.data_preprocessor import stretch

    image = (stretch(inputs) * 255).round().byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(image if is_rgb else image[..., ::-1])


if __name__ == '__main__':
    main()
