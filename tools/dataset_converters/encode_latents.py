#!/usr/bin/env python
"""Encode a training set once, so that training needs neither pictures nor the VAE's encoder:

    python tools/dataset_converters/encode_latents.py CONFIG --out FILE [--passes N]

Runs N passes over the training set of CONFIG, augmented anew in each, and writes the latents of
images, masks and edges. A training reads them with

    train_dataloader = dict(dataset=dict(_delete_=True, type='LatentDataset', latent_file=FILE))

They are of this VAE's weights, this size and these N augmentations.
"""

import argparse
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmdiffdis.apis.configs import load_config
from mmdiffdis.checkpoints import save_weights
from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, add_cfg_options, one_line_errors


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='of a training: its data and its VAE are used')
    add_cfg_options(parser)
    parser.add_argument('--out', required=True, type=Path, metavar='FILE', help='.safetensors')
    parser.add_argument('--passes', type=int, default=1, metavar='N', help='over the whole set')
    parser.add_argument('--amp', action='store_true', help='encode in bfloat16')
    parser.add_argument('--seed', type=int, default=0, help='of the augmentations')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--workers', type=int, default=1, help='processes that load pictures')
    parser.add_argument('--device', default='cpu', help="e.g. 'cuda:0'")
    return parser.parse_args(argv)


@torch.no_grad()
def encode(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Latents by name, [passes * images, C, h, w] float16."""
    config = load_config(args.config, options=args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmseg'))
    # MMEngine would print how each single parameter begins.
    MMLogger.get_instance('encode_latents', log_level='WARNING')
    set_random_seed(args.seed)
    model = MODELS.build(config.model)
    model.init_weights()
    model = model.to(args.device).eval()
    # Mixing needs the partner in a batch, which every epoch shuffles anew.
    model.data_preprocessor.cutmix = None
    loader = DataLoader(
        DATASETS.build(config.train_dataloader.dataset),
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=pseudo_collate,
        persistent_workers=args.workers > 0,
    )
    parts = []
    for _ in range(args.passes):
        for batch in tqdm(loader, unit='batch'):
            data = model.data_preprocessor(batch, training=True)
            with torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.amp):
                pairs = model.encode_pairs(**data)
            parts.append({name: z.half().cpu() for name, z in pairs.items()})
    # As some are laid out channels-last, which the file format does not know.
    return {n: torch.cat([part[n] for part in parts]).contiguous() for n in parts[0]}


def main(argv: list[str] | None = None) -> None:
    """Encodes and writes."""
    args = parse_args(argv)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.passes < 1:
            raise ValueError(f'--passes {args.passes}: expected at least one.')
        if args.out.suffix != '.safetensors':  # said now, not when all are encoded
            raise ValueError(f'--out {args.out}: expected a name that ends in .safetensors.')
        latents = encode(args)
        save_weights(latents, args.out, metadata=dict(config=str(args.config), seed=str(args.seed)))
    size = args.out.stat().st_size / 2**20
    print(f'{len(latents["mask"])} pairs of image and truths in {args.out}, {size:.0f} MiB')


if __name__ == '__main__':
    main()
