#!/usr/bin/env python
"""Opens a web page for masks and cut-outs: python tools/deployment/web.py [MODEL ...] [...]

Drop one or many images on the page, choose a model and a background, slide between image and
cut-out, and download PNG files or a ZIP archive of all.

MODEL is u2netp, diffdis_small (both for photographs; the default), diffdis_tiny (for synthetic
images), or CONFIG:CKPT. Only programs of this machine reach the page unless --host says otherwise.
Nothing is fetched from elsewhere, and nothing stays on the disk.
"""

import argparse
import os
import signal
import sys
from tempfile import TemporaryDirectory


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('model', nargs='*', default=['u2netp', 'diffdis_small'], metavar='MODEL')
    add('--host', default='127.0.0.1', help='0.0.0.0 for other machines (default: %(default)s)')
    add('--port', type=int, default=7860, help='default: %(default)s')
    add('--browser', action='store_true', help='open the page in a browser')
    add('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    add('--precision', choices=('float32', 'bfloat16', 'float16'), default='float32')
    add('--waiting', type=int, default=32, help='people who wait, at most (default: %(default)s)')
    add('--upload', type=float, default=32, help='MB of a file, at most (default: %(default)s)')
    add('--pixels', type=float, default=50, help='millions of an image (default: %(default)s)')
    args = parser.parse_args(argv)
    for name in ('waiting', 'upload', 'pixels'):
        if not getattr(args, name) > 0:
            parser.error(f'--{name} {getattr(args, name)}: expected more than 0')
    return args


def main(argv: list[str] | None = None) -> None:
    """Shows the page until it is interrupted."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.memory import keep_freed_memory

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # of containers, too, tidies up
    with (
        one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)),
        TemporaryDirectory(prefix='mmdiffdis-') as folder,
    ):
        os.environ |= {'GRADIO_ANALYTICS_ENABLED': 'False', 'GRADIO_TEMP_DIR': folder}
        try:
            from mmdiffdis.serving.page import THEME, make_page
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}: pip install 'mmdiffdis[web]'") from error
        from mmdiffdis.serving.models import load_models

        keep_freed_memory()
        models = load_models(args.model, args.device, args.precision)
        page = make_page(models, int(args.pixels * 1e6))
        page.queue(max_size=args.waiting, default_concurrency_limit=1)
        page.launch(
            server_name=args.host,
            server_port=args.port,
            inbrowser=args.browser,
            max_file_size=int(args.upload * 1e6),
            theme=THEME,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            share=False,
        )


if __name__ == '__main__':
    sys.exit(main())
