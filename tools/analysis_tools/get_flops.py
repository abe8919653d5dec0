#!/usr/bin/env python
"""Counts parameters and operations of one prediction, without weights and without running it:

    python tools/analysis_tools/get_flops.py CONFIG --shape H W [--edge]

Works for every segmentor, including those of mmseg. CONFIG is a path, or a name in configs/. The
shape is that of the network's input. One pass is counted, without test-time augmentation:
convolutions, matrix products and attention; a multiply-add counts as 2 FLOP.
"""

import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model, or its name in configs/')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        required=True,
        metavar=('H', 'W'),
        help="size of the network's input, e.g. 1024 1024",
    )
    parser.add_argument('--edge', action='store_true', help='predict the edge beside the mask')
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
    """Builds, counts and prints a table with a row for each part of the model."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmengine.registry import init_default_scope

    from mmdiffdis.apis.configs import load_config, predicts_edges, with_test_options
    from mmdiffdis.apis.flops import build_on_meta, count_cost
    from mmdiffdis.cli import one_line_errors
    from mmdiffdis.utils.tables import markdown

    with one_line_errors():
        config = load_config(args.config, options=args.cfg_options, needs=['model'])
        init_default_scope(config.get('default_scope', 'mmseg'))
        height, width = args.shape
        if min(height, width) < 1:
            raise ValueError(f'--shape {height} {width}: expected two positive numbers')
        if args.edge and not predicts_edges(config.model):
            raise ValueError(f'the model of {args.config} predicts no edges: leave out --edge')
        cost = count_cost(
            build_on_meta(with_test_options(config.model, args.edge)), (height, width)
        )
    rows = [
        [part, f'{cost.parameters[part] / 1e6:.2f}', f'{flop / 1e12:.4g}']
        for part, flop in cost.flop.items()
    ]
    other = cost.total_flop - sum(cost.flop.values())
    if other:
        rows.append(['other', '', f'{other / 1e12:.4g}'])
    rows.append(['total', f'{cost.total_parameters / 1e6:.2f}', f'{cost.total_flop / 1e12:.4g}'])
    maps = 'mask and edge' if args.edge else 'mask'
    print(
        f'**{Path(args.config).stem}**, {maps} of one {height}x{width} image, one pass; '
        'multiply-add = 2 FLOP\n'
    )
    print(markdown(['part', 'parameters (M)', 'TFLOP'], rows))


if __name__ == '__main__':
    main()
