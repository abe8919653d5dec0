#!/usr/bin/env python
"""Writes a model as an ONNX file, which runs without PyTorch:

    python tools/deployment/export_onnx.py CONFIG CKPT --out MODEL.onnx

The file takes batches of any size or, where the network does not allow that, single images. It
holds, as JSON, how to prepare an image and what its output means (docs/deployment.md). Its masks of
three photographs are compared with those of PyTorch, and nothing is written if they differ.
`predict MODEL.onnx INPUT...` runs it.
"""

import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', metavar='CONFIG', help='config of the model, or its name')
    add('checkpoint', metavar='CKPT', help='its weights')
    add('--out', required=True, type=Path, metavar='MODEL.onnx')
    add('--precision', choices=('float32', 'float16'), default='float32')
    add(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help="of the network's input (default: that of the config's test)",
    )
    add('--dynamic-size', action='store_true', help='take images of other sizes, too')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Exports a model, and prints how far the file's masks are from those of PyTorch."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    import logging

    from mmdiffdis.apis.exporting import OPSET, export_onnx
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.files import check_writable

    # It warns of operators of torchvision, which no model here needs.
    logging.getLogger('torch.onnx._internal.exporter._registration').setLevel(logging.ERROR)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS, MemoryError)):
        if args.out.suffix != '.onnx':
            raise ValueError(f'--out {args.out}: expected a file name that ends in .onnx')
        check_writable(args.out)
        export = export_onnx(
            args.config,
            args.checkpoint,
            args.out,
            precision=args.precision,
            dynamic_size=args.dynamic_size,
            size=args.size,
        )
    height, width = ('height', 'width') if args.dynamic_size else export.metadata['image']['size']
    print(f'{args.out}: ONNX opset {OPSET}, {args.precision}')
    batch = 'batch' if export.metadata['image']['dynamic_batch'] else 1
    print(f'  input  image  [{batch}, 3, {height}, {width}] float32')
    if noise := export.metadata['noise']:
        sides = f'{height} / {noise["stride"]}, {width} / {noise["stride"]}'
        print(f'  input  noise  [{batch}, {noise["channels"]}, {sides}] float32')
    print(f'  output mask   [{batch}, 1, height, width] float32')
    print(
        f'masks of photographs differ from those of PyTorch by {255 * export.maximum:.4f}/255 at '
        f'most, and by {255 * export.within:.4f}/255 at most on 99.9 % of pixels'
    )


if __name__ == '__main__':
    main()
