#!/usr/bin/env python
"""Makes one checkpoint of the released DiffDIS's U-Net and SD-Turbo's VAE and text encoder:

    python tools/model_converters/diffdis_to_mmseg.py \\
        --unet DiffDIS/unet --base sd-turbo --out diffdis.safetensors

tools/test.py and tools/predict.py load it with CONFIG; neither folder is needed any more. The
file's metadata says what the weights were made for: prediction type, betas, scaling factor and
sources.
"""

import argparse
import json
import os
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.apis.configs import load_config
from mmdiffdis.checkpoints import CheckpointError, save_weights
from mmdiffdis.checkpoints.diffusers_folder import local_folder, read_scheduler
from mmdiffdis.checkpoints.loading import TRUST_VARIABLE
from mmdiffdis.checkpoints.stable_diffusion import (
    check_betas,
    load_prompt,
    load_released_unet,
    load_vae,
)
from mmdiffdis.cli import BUILD_ERRORS, add_cfg_options, one_line_errors

ROOT = Path(__file__).resolve().parents[2]
FULL_SIZE = ROOT / 'configs' / 'diffdis' / 'diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
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
        help="SD-Turbo's folder (or its id on the Hugging Face hub), of which vae/ and scheduler/ "
        'are needed and, if the embedding is not given, text_encoder/ and tokenizer/',
    )
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.safetensors')
    parser.add_argument(
        '--config',
        default=str(FULL_SIZE),
        help="of the model that the weights must fit exactly (default: the paper's)",
    )
    parser.add_argument(
        '--dtype', choices=('float32', 'float16', 'bfloat16'), default='float32', help='to write'
    )
    parser.add_argument(
        '--prompt-embedding',
        metavar='FILE',
        help='the embedding of the empty prompt, [1, 2, D], instead of making it with transformers',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='read pickles (.bin, .pth) that could run any program; only if you trust their origin',
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The checkpoint's weights, and its metadata.

    Raises:
        FileNotFoundError: A folder or file is not there.
        CheckpointError: The weights, or the scheduler, are not those of the config's model.
        ImportError: The embedding has to be made, and transformers is not installed.
    """
    config = load_config(args.config, options=args.cfg_options)
    init_default_scope(config.get('default_scope', 'mmseg'))
    with torch.device('meta'):
        model = MODELS.build(config.model)
    scheduler = MODELS.build(config.model.scheduler)

    base = local_folder(args.base, '--base')
    facts = read_scheduler(base)
    check_betas(scheduler, facts, f'the scheduler of {base}', others=('prediction_type',))
    # 1. U-Net and its mid block, the neck
    weights, prompt = load_released_unet(model, args.unet)
    # 2. VAE
    weights |= load_vae(model, base)
    # 3. prompt
    origin = args.prompt_embedding or (args.unet if prompt is not None else base)
    if prompt is None or args.prompt_embedding:
        prompt = load_prompt(model, base, args.prompt_embedding)
    weights['prompt'] = prompt
    # 4. scheduler
    weights |= {f'scheduler.{name}': tensor for name, tensor in scheduler.state_dict().items()}

    missing = sorted(set(model.state_dict()) - set(weights))
    if missing:
        raise CheckpointError(
            f'the model of {args.config} has more weights than DiffDIS: {missing}.'
        )
    sources = dict(unet=args.unet, base=args.base, prompt=origin, config=args.config)
    metadata = dict(
        format='pt',
        scheduler=json.dumps(facts),
        scaling_factor=str(model.vae.scaling_factor),
        sources=json.dumps({name: Path(path).name for name, path in sources.items()}),
    )
    return weights, metadata


def main(argv: list[str] | None = None) -> None:
    """Converts as the command line says."""
    args = parse_args(argv)
    if args.trust_checkpoint:
        os.environ[TRUST_VARIABLE] = '1'
    with one_line_errors(BUILD_ERRORS):
        if args.out.suffix != '.safetensors':
            raise ValueError(f'--out {args.out}: expected a file name that ends in .safetensors.')
        weights, metadata = convert(args)
        path = save_weights(weights, args.out, getattr(torch, args.dtype), metadata)
    size = path.stat().st_size / 1e9
    print(f'{len(weights)} tensors, {size:.2f} GB, written to {path}: {metadata["scheduler"]}')


if __name__ == '__main__':
    main()
