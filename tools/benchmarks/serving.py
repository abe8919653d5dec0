#!/usr/bin/env python
"""Measures images per second of the server beside those of `predict`, on the same machine.

    python tools/benchmarks/serving.py [MODEL] [--images DIR] [--copies N] [--clients N ...]
        [--batch-size N] [--device DEVICE]

MODEL is one that `mmdiffdis serve` takes: u2netp (the default), diffdis_tiny, CONFIG:CKPT or an
ONNX file. `predict` makes the cut-outs of N copies of each image, by default of the photographs of
scikit-image, in one process; its time is the one that it prints, without the start. Then the server
is started, and clients of this process send the same files over loopback, each waiting for its
answer before it sends the next. Before the clock starts, one image is sent for each client.

Printed are, for `predict` and each number of clients: images per second, the median and the 95th
percentile of the time of an answer, and the largest difference of a cut-out's opacity from
`predict`'s, in 255ths. Any answer other than a cut-out ends the measurement.
"""

import argparse
import io
import re
import shutil
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
    add('--copies', type=int, default=5, help='copies of each image (default: %(default)s)')
    add('--clients', type=int, nargs='+', default=[1, 8, 64], metavar='N', help='at once')
    add('--batch-size', type=int, default=4, help='of both (default: %(default)s)')
    add('--device', default='cpu', help='of both (default: %(default)s)')
    args = parser.parse_args(argv)
    if min(args.copies, args.batch_size, *args.clients) < 1:
        parser.error('--copies, --clients and --batch-size: expected at least 1')
    return args


def predict(args: argparse.Namespace, images: list[Path], out: Path) -> float:
    """Makes the cut-outs of images with `predict`; returns images per second."""
    from mmdiffdis.apis.benchmarking import split_model

    names = [name for name in dict.fromkeys(split_model(args.model)) if name]
    options = ['--type', 'cutout', '--batch-size', args.batch_size, '--device', args.device]
    command = [sys.executable, TOOLS / 'predict.py', *names, *images, '--out', out, *options]
    printed = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if printed.returncode:
        raise RuntimeError(f'predict failed: {printed.stderr.strip().splitlines()[-1]}')
    (seconds,) = re.findall(
        rf'{len(images)} of {len(images)} written .* in ([\d.]+) s', printed.stdout
    )
    return len(images) / max(float(seconds), 0.05)  # it is rounded to tenths


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


def print_row(*cells: str) -> None:
    """Prints a row of a Markdown table at once, which an interrupted run keeps."""
    print(f'| {" | ".join(cells)} |', flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measures, and prints a table."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    import numpy as np

    from mmdiffdis.apis import find_pictures
    from mmdiffdis.apis.benchmarking import save_bundled_images
    from mmdiffdis.cli import RUN_ERRORS, one_line_errors

    with (
        one_line_errors((*RUN_ERRORS, RuntimeError, ValueError)),
        tempfile.TemporaryDirectory() as name,
    ):
        folder, out = Path(name), Path(name, 'cutouts')
        originals = find_pictures([args.images]) if args.images else save_bundled_images(folder)
        images = [
            Path(shutil.copyfile(image, folder / f'{number}_{image.name}'))
            for number in range(args.copies)
            for image in originals
        ]
        print_row(*HEADER)
        print_row('---', *['---:'] * (len(HEADER) - 1))
        print_row('predict', f'{predict(args, images, out):.2f}', '', '', '0')
        with serve(args) as address:
            for clients in args.clients:
                with ThreadPoolExecutor(clients) as pool:
                    list(pool.map(ask, [address] * clients, images))
                    start = time.perf_counter()
                    answers = list(pool.map(ask, [address] * len(images), images))
                    rate = len(images) / (time.perf_counter() - start)
                median, high = np.percentile([seconds for _, seconds in answers], (50, 95))
                differs = max(
                    largest_difference(content, out / f'{image.stem}.png')
                    for image, (content, _) in zip(images, answers, strict=True)
                )
                times = f'{median:.3f}', f'{high:.3f}'
                print_row(f'{clients} clients', f'{rate:.2f}', *times, str(differs))


if __name__ == '__main__':
    main()
