#!/usr/bin/env python
"""Counts the memory of a training step, without weights and without a GPU:

    python tools/analysis_tools/training_memory.py CONFIG [--variants reference amp+ema ...]
        [--batch-size 4] [--side 1024]

A variant is a list of options of `tools/train.py --with`, and of `amp` for `--amp`, joined by '+';
`reference` is the config as it is. Counted are weights, gradients, optimizer states and EMA weights
(float32; one byte per state of an 8-bit optimizer), and what the U-Net's forward pass saves for the
backward pass, operator by operator, on tensors without content. Not counted are the VAE's transient
activations, autocast's copies of the weights of checkpointed blocks, what such a block computes
again, workspaces and fragmentation.
"""

import argparse

GIB = 2**30


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or name of one in configs/')
    parser.add_argument('--variants', nargs='+', default=['reference'], metavar='OPTION+OPTION')
    parser.add_argument('--batch-size', type=int, default=4, metavar='N')
    parser.add_argument('--side', type=int, default=1024, metavar='PIXELS')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Counts and prints."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, it reports a missing or unsuitable MMEngine

    from mmengine.registry import init_default_scope

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
    from mmdiffdis.engine.options import apply_variant
    from mmdiffdis.engine.training_memory import count_bytes
    from mmdiffdis.utils.tables import markdown

    init_default_scope('mmseg')
    rows = []
    with one_line_errors(BUILD_ERRORS):
        for variant in args.variants:
            config = load_config(args.config, needs=['model', 'optim_wrapper'])
            apply_variant(config, variant)
            parts = count_bytes(config, args.batch_size, args.side)
            sizes = [*parts.values(), sum(parts.values())]
            rows.append([variant, *(f'{size / GIB:.2f}' for size in sizes)])
    print(f'GiB, batch of {args.batch_size}, {args.side}x{args.side}\n')
    print(markdown(['variant', *parts, 'total'], rows))


if __name__ == '__main__':
    main()
