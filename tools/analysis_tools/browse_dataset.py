#!/usr/bin/env python
"""Draws what a config trains on:

    python tools/analysis_tools/browse_dataset.py CONFIG [--out DIR] [--num N] [--seed S]
        [--cfg-options KEY=VALUE ...]

`DIR/<number>_<stem>.jpg` has two rows of image | mask | edge: as the training pipeline gives them,
and as the model receives them from its data preprocessor, which mixes batches (CutMix) and may
stretch each map to its full range. The config's batch size holds; no weights are needed. Latents
(`LatentDataset`) are no pictures: browse the config that they were encoded with.
"""

import argparse
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from tqdm import tqdm

from mmdiffdis.apis.configs import load_config
from mmdiffdis.cli import BUILD_ERRORS, add_cfg_options, one_line_errors
from mmdiffdis.images.panels import row
from mmdiffdis.structures import image_stem


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file')
    parser.add_argument('--out', type=Path, metavar='DIR', help='default: browse/ in the work dir')
    parser.add_argument('--num', type=int, default=16, metavar='N', help='samples')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentation')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def truths(sample: SegDataSample) -> dict[str, np.ndarray]:
    """Mask and edge [H, W] in [0, 1], where the sample has them."""
    names = {'mask': 'gt_alpha' if 'gt_alpha' in sample else 'gt_sem_seg', 'edge': 'gt_edge_map'}
    return {
        caption: sample.get(name).data[0].float().numpy()
        for caption, name in names.items()
        if name in sample
    }


def as_picture(inputs: torch.Tensor, is_rgb: bool) -> np.ndarray:
    """uint8 RGB [H, W, 3] of a model's input [3, H, W], from its least to its largest value."""
    low, high = inputs.min(), inputs.max()
    levels = (inputs - low) / (high - low).clamp(min=1e-6) * 255
    picture = levels.round().to(torch.uint8).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(picture if is_rgb else picture[..., ::-1])


def draw_batches(config: Config, num: int) -> list[tuple[str, np.ndarray]]:
    """(stem, picture uint8 RGB) of `num` samples, evenly spread over the training set.

    Raises:
        ValueError: `num` is no number of samples, or the config trains on latents.
    """
    if num < 1:
        raise ValueError(f'--num {num}: expected 1 or more.')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    preprocessor = MODELS.build(config.model.data_preprocessor)
    # stock preprocessors and ours say it under different names
    is_rgb = getattr(preprocessor, 'bgr_to_rgb', getattr(preprocessor, 'channel_conversion', True))
    indices = [i * len(dataset) // num for i in range(num)]
    size = config.train_dataloader.batch_size
    drawn = []
    for start in tqdm(range(0, num, size), unit='batch'):
        packed = [dataset[index] for index in indices[start : start + size]]
        if isinstance(packed[0]['inputs'], dict):
            raise ValueError(
                'the config trains on latents, expected pictures; browse the config that they were '
                'encoded with (CONFIG of tools/dataset_converters/encode_latents.py).'
            )
        upper = []
        for item in packed:
            image = item['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
            upper.append(row({'image': image, **truths(item['data_samples'])}))
        batch = preprocessor(pseudo_collate(packed), training=True)
        for above, inputs, sample in zip(
            upper, batch['inputs'], batch['data_samples'], strict=True
        ):
            parts = {'image': as_picture(inputs, is_rgb), **truths(sample)}
            below = row({f'{caption}, as fed': part for caption, part in parts.items()})
            stem = image_stem(sample)
            # a preprocessor may pad
            width = max(above.shape[1], below.shape[1])
            rows = [
                np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255)
                for r in (above, below)
            ]
            drawn.append((stem, np.vstack(rows)))
    return drawn


def main(argv: list[str] | None = None) -> None:
    """Draws and writes."""
    args = parse_args(argv)
    with one_line_errors(BUILD_ERRORS):
        config = load_config(args.config, options=args.cfg_options)
        init_default_scope(config.get('default_scope', 'mmseg'))
        np.random.seed(args.seed)
        torch.manual_seed(args.seed)
        pictures = draw_batches(config, args.num)
    out = args.out or Path(config.work_dir) / 'browse'
    out.mkdir(parents=True, exist_ok=True)
    for number, (stem, picture) in enumerate(pictures):
        Image.fromarray(picture).save(out / f'{number:03}_{stem}.jpg', quality=92)
    print(f'{len(pictures)} samples in {out}')


if __name__ == '__main__':
    main()
