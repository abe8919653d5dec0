#!/usr/bin/env python
"""Measures images per second of the server beside those of `predict`, on the same machine.

    python tools/benchmarks/serving.py [MODEL] [--images DIR] [--rounds N] [--clients N ...]
        [--batch-size N] [--device DEVICE]

MODEL is one that `mmdiffdis serve` takes: u2netp (the default), diffdis_tiny, CONFIG:CKPT or an
ONNX file. `predict` makes the cut-outs of a folder of images, by default the photographs of
scikit-image, in one process; its time is the one that it prints, without the start. Then the server
is started, and clients of this process send the same images over loopback, each waiting for its
answer before it sends the next. Before the clock starts, one image is sent by each client.

Printed are, for `predict` and each number of clients: images per second, the median and the 95th
percentile of the time of an answer, and the largest difference of a cut-out's opacity from
`predict`'s, in 255ths. Any answer other than a cut-out ends the measurement.
"""

import argparse
import io
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Path(__file__).parents[1]
HEADER = ['', 'images/s', 'median s', '95 % s', 'differs']


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('model', nargs='?', default='u2netp', metavar='MODEL')
    add('--images', type=Path, metavar='DIR', help='images')
    add('--rounds', type=int, default=5, help='of all images (default: %(default)s)')
    add('--clients', type=int, nargs='+', default=[1, 8, 64], metavar='N', help='at once')
    add('--batch-size', type=int, default=4, help='of both (default: %(default)s)')
    add('--device', default='cpu', help='of both (default: %(default)s)')
    args = parser.parse_args(argv)
    if min(args.rounds, args.batch_size, *args.clients) < 1:
        parser.error('--rounds, --clients and --batch-size: expected at least 1')
    return args


def predict(args: argparse.Namespace, images: list[Path], out: Path) -> float:
    """Makes the cut-outs of images with `predict`; returns images per second."""
    from mmdiffdis.apis.benchmarking import split_model

    names = [name for name in dict.fromkeys(split_model(args.model)) if name]
    options = ['--type', 'cutout', '--batch-size', args.batch_size, '--device', args.device]
    command = [sys.executable, TOOLS / 'predict.py', *names, *images, '--out', out, *options]
    printed = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    (seconds,) = re.findall(
        rf'{len(images)} of {len(images)} written .* in ([\d.]+) s', printed.stdout
    )
    return len(images) / float(seconds)


@contextmanager
def serve(args: argparse.Namespace) -> 'Iterator[str]':
    """Runs the server in a process of its own; yields its address."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    options = ['--port', port, '--batch-size', args.batch_size, '--device', args.device]
    options += ['--requests', max(args.clients), '--seconds', 600]
    command = [sys.executable, TOOLS / 'deployment' / 'serve.py', args.model, *options]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f'{address}/health', timeout=10).close()
                break
            except OSError:
                time.sleep(0.2)
        else:
            raise RuntimeError(f'the server ended with {process.returncode}: run {command}')
        yield address
    finally:
        process.terminate()
        process.wait()


def ask(address: str, image: Path) -> tuple[bytes, float]:
    """Returns the cut-out of an image, and the seconds until it was there."""
    start = time.perf_counter()
    request = urllib.request.Request(
        f'{address}/v1/cutout?name={urllib.request.quote(image.name)}',
        image.read_bytes(),
        {'Content-Type': 'image/*'},
    )
    with urllib.request.urlopen(request) as response:
        return response.read(), time.perf_counter() - start


def largest_difference(content: bytes, path: Path) -> int:
    """Returns the largest difference of the opacities of two cut-outs, in 255ths."""
    import numpy as np
    from PIL import Image

    opacities = [
        np.array(Image.open(file).getchannel('A'), int) for file in (io.BytesIO(content), path)
    ]
    return int(np.abs(opacities[0] - opacities[1]).max())


def main(argv: list[str] | None = None) -> None:
    """Measures, and prints a table."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    import numpy as np

    from mmdiffdis.apis import find_pictures
    from mmdiffdis.apis.benchmarking import save_bundled_images
    from mmdiffdis.utils.tables import markdown

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'cutouts')
        images = find_pictures([args.images]) if args.images else save_bundled_images(Path(folder))
        rows = [['predict', f'{predict(args, images, out):.2f}', '', '', '0']]
        with serve(args) as address:
            for clients in args.clients:
                jobs = images * args.rounds
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(ask, [address] * clients, (images * clients)[:clients]))
                    start = time.perf_counter()
                    answers = list(pool.map(ask, [address] * len(jobs), jobs))
                    rate = len(jobs) / (time.perf_counter() - start)
                median, high = np.percentile([seconds for _, seconds in answers], (50, 95))
                differs = max(
                    largest_difference(content, out / f'{image.stem}.png')
                    for image, (content, _) in zip(jobs, answers, strict=True)
                )
                row = [f'{clients} clients', f'{rate:.2f}', f'{median:.3f}', f'{high:.3f}']
                rows.append([*row, str(differs)])
    print(markdown(HEADER, rows))


if __name__ == '__main__':
    main()
