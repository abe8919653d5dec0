#!/usr/bin/env python
"""Makes a checkpoint of an ONNX file of IS-Net or U2-Net, as other tools distribute them:

    python tools/model_converters/onnx_to_mmseg.py u2netp.onnx \\
        --config u2netp_1xb12-600k_dis5k-320x320 --out u2netp.safetensors

The checkpoint has the names of the author's own. It is compared with onnxruntime at every output of
the file, and not written if it differs.
"""

import argparse
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('onnx', type=Path, metavar='MODEL.onnx')
    parser.add_argument('--config', required=True, help='config of the model, or its name')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.safetensors')
    parser.add_argument(
        '--dtype',
        choices=('float32', 'float16'),
        default='float32',
        help='to write weights of convolutions in; biases and norms stay in float32',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Converts the weights of an ONNX file."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, reports a missing or unsuitable MMEngine

    import torch
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.checkpoints import CheckpointError, save_weights
    from mmdiffdis.checkpoints.onnx import TOLERANCES, convert_onnx, differences, read_onnx
    from mmdiffdis.cli import one_line_errors

    with one_line_errors():
        if args.out.suffix != '.safetensors':
            raise ValueError(f'--out {args.out}: expected a file name that ends in .safetensors')
        config = load_config(args.config, options=args.cfg_options, needs=['model'])
        init_default_scope(config.get('default_scope', 'mmseg'))
        network = read_onnx(args.onnx)
        model = MODELS.build(config.model).eval()
        weights, absent = convert_onnx(model, network)
        model.load_state_dict(dict(weights))
        if absent:
            print(f'not in the file, without influence on the mask, zero: {", ".join(absent)}')
        try:
            compared = differences(model, network)
        except ImportError:
            print('not compared: onnxruntime is not installed (`pip install onnxruntime`)')
        else:
            print('largest difference from onnxruntime:')
            for name, difference in compared.items():
                print(f'  {name}: {difference:.1e}')
            tolerance = TOLERANCES[network.dtype]
            if not max(compared.values()) <= tolerance:  # NaN as well
                raise CheckpointError(
                    f'{args.onnx} and the model of {args.config} differ by '
                    f'{max(compared.values()):.1e}; expected {tolerance:.0e} at most'
                )
        dtype = getattr(torch, args.dtype)
        weights = {name: t.to(dtype) if t.ndim == 4 else t for name, t in weights.items()}
        origin = dict(source=args.onnx.name, config=Path(args.config).stem)
        save_weights(weights, args.out, metadata=origin)
    print(f'{len(weights)} tensors written to {args.out}')


if __name__ == '__main__':
    main()
