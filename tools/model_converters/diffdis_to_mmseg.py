#!/usr/bin/env python
"""Makes one checkpoint of the released DiffDIS U-Net and of SD-Turbo's VAE and text encoder:

    python tools/model_converters/diffdis_to_mmseg.py \\
        --unet DiffDIS/unet --base sd-turbo --out diffdis.safetensors

tools/test.py and tools/predict.py load it with CONFIG; the folders are not needed any more. The
file's metadata records prediction type, betas, scaling factor and sources.
"""

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FULL_SIZE = ROOT / 'configs' / 'diffdis' / 'diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--unet',
        required=True,
        type=Path,
        metavar='FOLDER_OR_FILE',
        help="DiffDIS's U-Net: the released folder, or a file that it was repacked into, with or "
        'without the embedding of the empty prompt',
    )
    parser.add_argument(
        '--base',
        required=True,
        metavar='FOLDER',
        help="SD-Turbo's folder, or its id on the Hugging Face hub; vae/ and scheduler/ are needed "
        'and, if the embedding is not given, text_encoder/ and tokenizer/',
    )
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.safetensors')
    parser.add_argument(
        '--config',
        default=str(FULL_SIZE),
        help="config of the model, whose weights must be exactly these (default: the paper's)",
    )
    parser.add_argument(
        '--dtype', choices=('float32', 'float16', 'bfloat16'), default='float32', help='to write'
    )
    parser.add_argument(
        '--prompt-embedding',
        metavar='FILE',
        help='embedding of the empty prompt, [1, 2, D], instead of making it with transformers',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read pickles (.bin, .pth) that could run any program; only if you trust their origin',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',  # the option may be repeated
        default=[],
        metavar='KEY=VALUE',
        help='change settings of the config, e.g. model.neck.interaction=None',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Converts the released weights."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    import torch
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.checkpoints import save_weights
    from mmdiffdis.checkpoints.diffusers_folder import local_folder
    from mmdiffdis.checkpoints.loading import TRUST_VARIABLE
    from mmdiffdis.checkpoints.stable_diffusion import convert_released
    from mmdiffdis.cli import BUILD_ERRORS, one_line_errors

    if args.trust_checkpoint:
        os.environ[TRUST_VARIABLE] = '1'
    with one_line_errors(BUILD_ERRORS):
        if args.out.suffix != '.safetensors':
            raise ValueError(f'--out {args.out}: expected a file name that ends in .safetensors')
        config = load_config(args.config, options=args.cfg_options, needs=['model'])
        init_default_scope(config.get('default_scope', 'mmseg'))
        with torch.device('meta'):  # only names and shapes are needed, apart from the scheduler
            model = MODELS.build(config.model)
        model.scheduler = MODELS.build(config.model.scheduler)
        base = local_folder(args.base, '--base')
        weights, metadata = convert_released(
            model, args.config, args.unet, base, args.prompt_embedding
        )
        path = save_weights(weights, args.out, getattr(torch, args.dtype), metadata)
    size = path.stat().st_size / 1e9
    print(f'{len(weights)} tensors, {size:.2f} GB, written to {path}: {metadata["scheduler"]}')


if __name__ == '__main__':
    main()
