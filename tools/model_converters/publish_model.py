#!/usr/bin/env python
"""Weights alone, LoRA's adapters merged into them, to hand on:

python tools/model_converters/publish_model.py CKPT --out FILE
"""

import argparse

import torch
from mmengine.runner import CheckpointLoader

from mmdiffdis.checkpoints import merge_lora, save_weights


def parse_args() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description='Strip a checkpoint of all but its weights.')
    parser.add_argument('checkpoint', help='of a training; its optimizer and logs are left behind')
    parser.add_argument('--out', required=True, help='the safetensors file to write')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'float16', 'bfloat16'))
    parser.add_argument('--prefix', default='', help='keep what begins with it alone, e.g. vae.')
    return parser.parse_args()


def main() -> None:
    """Publishes as the command line says."""
    args = parse_args()
    weights = merge_lora(CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu')['state_dict'])
    kept = {name: tensor for name, tensor in weights.items() if name.startswith(args.prefix)}
    if not kept:
        raise SystemExit(f'nothing in {args.checkpoint} begins with {args.prefix!r}')
    save_weights(kept, args.out, dtype=getattr(torch, args.dtype))
    numbers = sum(tensor.numel() for tensor in kept.values())
    print(f'{args.out}: {len(kept)} tensors, {numbers / 1e6:.2f} M numbers, {args.dtype}')


if __name__ == '__main__':
    main()
