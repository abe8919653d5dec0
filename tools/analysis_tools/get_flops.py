#!/usr/bin/env python
"""Parameters and operations of one prediction, without weights and without running it:

    python tools/analysis_tools/get_flops.py CONFIG --shape H W [--edge]

Works for every segmentor, mmseg's own included. The shape is that of the network's input. One pass
is counted, without test-time augmentation: convolutions, matrix products and attention, 2 FLOP for
a multiplication with its addition.
"""

import argparse
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.apis.configs import load_config, with_test_options
from mmdiffdis.apis.flops import Cost, build_on_meta, count_cost
from mmdiffdis.cli import add_cfg_options, one_line_errors
from mmdiffdis.models import DiffusionSegmentor
from mmdiffdis.utils.tables import markdown


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        required=True,
        metavar=('H', 'W'),
        help="the network's input, e.g. 1024 1024",
    )
    parser.add_argument('--edge', action='store_true', help='predict the edge beside the mask')
    add_cfg_options(parser)
    return parser.parse_args(argv)


def to_table(cost: Cost) -> str:
    """Markdown: a row for each part of the model, and their total."""
    rows = [
        [part, f'{cost.parameters[part] / 1e6:.2f}', f'{cost.flop[part] / 1e12:.4g}']
        for part in cost.flop
    ]
    other = cost.total_flop - sum(cost.flop.values())
    if other:
        rows.append(['other', '', f'{other / 1e12:.4g}'])
    rows.append(['total', f'{cost.total_parameters / 1e6:.2f}', f'{cost.total_flop / 1e12:.4g}'])
    return markdown(['part', 'parameters (M)', 'TFLOP'], rows)


def main(argv: list[str] | None = None) -> None:
    """Builds, counts and prints."""
    args = parse_args(argv)
    with one_line_errors():
        config = load_config(args.config, options=args.cfg_options)
        init_default_scope(config.get('default_scope', 'mmseg'))
        height, width = args.shape
        if min(height, width) < 1:
            raise ValueError(f'--shape {height} {width}: expected two positive numbers.')
        if args.edge and not issubclass(MODELS.get(config.model.type), DiffusionSegmentor):
            raise ValueError(f'the model of {args.config} predicts no edges; leave out --edge.')
        model = build_on_meta(with_test_options(config.model, args.edge))
        cost = count_cost(model, (height, width))
    what = 'mask and edge' if args.edge else 'mask'
    print(
        f'**{Path(args.config).stem}**, {what} of one {height}x{width} image, one pass; '
        'multiply-add = 2 FLOP\n'
    )
    print(to_table(cost))


if __name__ == '__main__':
    main()
