#!/usr/bin/env python
"""Serves masks and cut-outs over HTTP: python tools/deployment/serve.py [MODEL ...] [--port N] ...

    curl -F image=@photo.jpg http://127.0.0.1:8000/v1/cutout -o cutout.png
    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/v1/mask?threshold=0.5' -o mask.png

MODEL is u2netp (the default), diffdis_small, diffdis_tiny, CONFIG:CKPT or an ONNX file of `export`;
requests choose one of several by `model=NAME`. /docs describes all options, /models lists the
models, /health says whether the server is there. Images that wait are predicted together. Nothing
is fetched from elsewhere, and nothing stays on the disk.
"""

import argparse
import signal
import sys


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('model', nargs='*', default=['u2netp'], metavar='MODEL')
    add('--host', default='127.0.0.1', help='0.0.0.0 for other machines (default: %(default)s)')
    add('--port', type=int, default=8000, help='default: %(default)s')
    add('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    add('--precision', choices=('float32', 'bfloat16', 'float16'), default='float32')
    add('--batch-size', type=int, default=4, help='images at once, at most (default: %(default)s)')
    add('--requests', type=int, default=64, help='at once, at most (default: %(default)s)')
    add('--upload', type=float, default=32, help='MB of a request, at most (default: %(default)s)')
    add('--pixels', type=float, default=50, help='millions of an image (default: %(default)s)')
    add('--seconds', type=float, default=120, help='time of a request (default: %(default)s)')
    args = parser.parse_args(argv)
    for name in ('batch_size', 'requests', 'upload', 'pixels', 'seconds'):
        if not getattr(args, name) > 0:
            option = name.replace('_', '-')
            parser.error(f'--{option} {getattr(args, name)}: expected more than 0')
    return args


def main(argv: list[str] | None = None) -> None:
    """Serves until it is interrupted, and then answers the requests that are there."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        try:
            import uvicorn

            from mmdiffdis.serving.server import Limits, make_app
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}: pip install 'mmdiffdis[serve]'") from error
        from mmdiffdis.serving.models import load_models

        keep_freed_memory()
        models = load_models(args.model, args.device, args.precision)
    limits = Limits(args.requests, int(args.upload * 1e6), int(args.pixels * 1e6), args.seconds)
    app = make_app(models, args.batch_size, limits)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends without an error
    uvicorn.run(app, host=args.host, port=args.port, timeout_graceful_shutdown=int(args.seconds))


if __name__ == '__main__':
    sys.exit(main())
