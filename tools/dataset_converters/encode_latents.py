#!/usr/bin/env python
"""Encodes a training set once, so that training needs neither images nor the VAE's encoder:

    python tools/dataset_converters/encode_latents.py CONFIG --out FILE [--passes N]

Makes N passes over the training set of CONFIG, augmented anew in each, and writes the latents of
images, masks and edges. Training reads them with

    train_dataloader = dict(dataset=dict(_delete_=True, type='LatentDataset', latent_file=FILE))

They hold for the weights of the VAE with which a training of CONFIG begins (its load_from, or the
model's init_cfg), this size and these N augmentations. The file has a hash of the VAE, and training
refuses latents of another one.

Images and masks that cannot be read are left out, and listed at the end; the exit code is 1 then.
"""

import argparse
import sys
from pathlib import Path

# Beginnings of the keys of a config that the latents depend on.
READ_KEYS = (
    *('model', 'train_dataloader.dataset', 'load_from', 'load_partially'),
    *('default_scope', 'custom_imports'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a training, with its data and its VAE')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',  # the option may be repeated
        default=[],
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. train_dataloader.dataset.data_root=data/mine',
    )
    parser.add_argument(
        '--out', required=True, type=Path, metavar='FILE', help='.safetensors file to write'
    )
    parser.add_argument(
        '--passes', type=int, default=1, metavar='N', help='number of passes over the whole set'
    )
    parser.add_argument('--amp', action='store_true', help='encode in bfloat16')
    parser.add_argument('--seed', type=int, default=0, help='seed of the augmentation')
    parser.add_argument('--batch-size', type=int, default=16, help='images per batch')
    parser.add_argument('--workers', type=int, default=1, help='processes that load images')
    parser.add_argument('--device', default='cpu', help="e.g. 'cuda:0'")
    args = parser.parse_args(argv)
    if args.passes < 1:
        parser.error(f'--passes {args.passes}: expected at least 1')
    if args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size}: expected at least 1')
    if args.workers < 0:
        parser.error(f'--workers {args.workers}: expected 0 or more')
    if args.out.suffix != '.safetensors':
        parser.error(f'--out {args.out}: expected a name that ends in .safetensors')
    return args


def main(argv: list[str] | None = None) -> int:
    """Encodes and writes; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope
    from mmengine.runner import load_checkpoint, set_random_seed
    from mmseg.registry import DATASETS, MODELS

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.apis.inference import choose_device
    from mmdiffdis.checkpoints import explain_misfits, save_weights
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.datasets.latents import VAE_KEY, encode_latents, encoder_hash
    from mmdiffdis.utils.files import check_writable
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        check_writable(args.out)
        config = load_config(
            args.config, options=args.cfg_options, needs=['model', 'train_dataloader']
        )
        unused = [option for option in args.cfg_options if not option.startswith(READ_KEYS)]
        if unused:
            print(f'without effect on latents: --cfg-options {" ".join(unused)}', file=sys.stderr)
        init_default_scope(config.get('default_scope', 'mmseg'))
        # MMEngine would print the initialisation of every parameter
        MMLogger.get_instance('encode_latents', log_level='WARNING')
        set_random_seed(args.seed)
        model = MODELS.build(config.model)
        model.init_weights()
        if config.get('load_from'):
            strict = not config.get('load_partially', False)
            with explain_misfits(config.load_from):
                load_checkpoint(model, config.load_from, map_location='cpu', strict=strict)
        metadata = {
            'config': str(args.config),
            'seed': str(args.seed),
            VAE_KEY: encoder_hash(model.vae),
        }
        keep_freed_memory()
        latents, left_out = encode_latents(
            model.to(choose_device(args.device)).eval(),
            DATASETS.build(config.train_dataloader.dataset),
            args.passes,
            args.batch_size,
            args.workers,
            args.amp,
        )
        save_weights(latents, args.out, metadata=metadata)
    size = args.out.stat().st_size / 2**20
    print(f'{len(latents["mask"])} pairs of image and ground truth in {args.out}, {size:.0f} MiB')
    for line in left_out:
        print(f'left out: {line}', file=sys.stderr)
    return 1 if left_out else 0


if __name__ == '__main__':
    sys.exit(main())
