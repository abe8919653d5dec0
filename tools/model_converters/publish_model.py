#!/usr/bin/env python
"""Writes the weights of a checkpoint alone, with LoRA adapters merged, to share them.

python tools/model_converters/publish_model.py CKPT --out FILE.safetensors
"""

import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a training; optimizer and logs are left out')
    parser.add_argument('--out', required=True, help='safetensors file to write')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'float16', 'bfloat16'))
    parser.add_argument(
        '--prefix', default='', help='write only weights whose names begin with it, e.g. vae.'
    )
    parser.add_argument(
        '--without',
        metavar='PREFIX',
        help='leave out weights whose names begin with it, e.g. vae. of a model with TAESD, which '
        'comes with the package',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Writes the weights of a checkpoint."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    import torch
    from mmengine.runner import CheckpointLoader

    from mmdiffdis.checkpoints import merge_lora, save_weights
    from mmdiffdis.cli import BUILD_ERRORS, one_line_errors

    with one_line_errors(BUILD_ERRORS):
        checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu')
        if isinstance(checkpoint, dict):
            checkpoint = checkpoint.get('state_dict', checkpoint)
        if not isinstance(checkpoint, dict) or not all(map(torch.is_tensor, checkpoint.values())):
            raise ValueError(f'{args.checkpoint} holds other objects than weights')
        weights = merge_lora(checkpoint)
        selected = {name: t for name, t in weights.items() if name.startswith(args.prefix)}
        if not selected:
            raise ValueError(
                f'--prefix {args.prefix}: no weight of {args.checkpoint} begins with it'
            )
        unwanted = {n for n in selected if args.without and n.startswith(args.without)}
        if args.without and len(unwanted) in (0, len(selected)):
            raise ValueError(
                f'--without {args.without}: {len(unwanted)} of {len(selected)} weights begin with '
                'it, expected some of them'
            )
        selected = {n: t for n, t in selected.items() if n not in unwanted}
        save_weights(selected, args.out, dtype=getattr(torch, args.dtype))
    numbers = sum(tensor.numel() for tensor in selected.values())
    print(f'{args.out}: {len(selected)} tensors, {numbers / 1e6:.2f} M numbers, {args.dtype}')


if __name__ == '__main__':
    main()
