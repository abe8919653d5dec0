#!/usr/bin/env python
"""Predicts masks of pictures: python tools/predict.py CONFIG CKPT INPUT... --out DIR [--type ...]

Inputs are files, folders (every file directly inside, hidden ones aside) and glob patterns
(`**` searches sub-folders). Each result is written to `DIR/<stem>.png`, at the size of its picture
as a viewer shows it. Pictures of the same stem keep their whole file name in the result's, preceded
by the folder's if that is not enough. A file that cannot be read is reported at the end, and the
rest is done. Results are whole or not there at all: a run that was interrupted goes on where it
stopped, if it is repeated. Results say what they were made of and how (PNG's text 'mmdiffdis'; an
MP4's last box, which players skip): a run with other options, weights or pictures is refused where
it would take them for its own. A folder that is predicted cannot be --out; results in --out that a
pattern reaches are left out.

A video becomes a video, `DIR/<stem>.mp4`, all of whose frames start from the same noise (a last odd
column or row is cut off); or, with --frames, the pictures `DIR/<stem>/000000.png`, ..., which are
all made again if the run is repeated.

Exit code: 0 if everything was done, 1 if files were skipped or the command holds a mistake, 130 if
it was interrupted (Ctrl-C).
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from mmdiffdis.apis import DISInferencer, DISResult, find_pictures, name_results
from mmdiffdis.apis.decoding import PICTURE_ERRORS, reason
from mmdiffdis.apis.inference import COMPILE_MODES, PIXEL_BUDGET
from mmdiffdis.apis.precision import PRECISIONS
from mmdiffdis.apis.video import VIDEO_SUFFIXES, VideoReader, VideoWriter, append_note, read_note
from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
from mmdiffdis.images.panels import overlay, panel, to_grey
from mmdiffdis.images.reading import is_out_of_memory, open_lazily
from mmdiffdis.utils.files import atomic_write
from mmdiffdis.utils.parallel import map_ahead

ORIGIN = 'mmdiffdis'
FIRST_FRAME = '000000.png'
PICTURES: dict[str, Callable[[DISResult], np.ndarray]] = {
    'mask': lambda result: to_grey(result.mask),
    'cutout': lambda result: result.cutout(),
    'overlay': lambda result: overlay(result.image, result.mask),
    'edge': lambda result: to_grey(result.edge),
    'panel': lambda result: panel(result.image, mask=result.mask, edge=result.edge),
}


def _folder(name: str) -> Path:
    if not name:  # of an unset variable; a Path of it is the current folder
        raise argparse.ArgumentTypeError("is empty (''); '.' is the current folder.")
    return Path(name)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model, or its name in configs/')
    parser.add_argument('checkpoint', help='its weights')
    parser.add_argument('input', nargs='+', help='files, folders or glob patterns')
    parser.add_argument('--out', required=True, type=_folder, help='folder for the results')
    parser.add_argument(
        '--type', choices=PICTURES, default='mask', help='what to write (default: %(default)s)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace results that are there')
    parser.add_argument('--frames', action='store_true', help='of a video, write single pictures')
    parser.add_argument('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    parser.add_argument('--seed', type=int, help="seed of the noise (default: the config's)")
    parser.add_argument('--batch-size', type=int, default=1, help='pictures at once')
    parser.add_argument('--precision', choices=PRECISIONS, default='float32')
    parser.add_argument('--encoder-precision', choices=PRECISIONS, help='default: float32, always')
    parser.add_argument('--tf32', action='store_true', help='on NVIDIA GPUs, float32 by TF32')
    parser.add_argument('--compile', choices=COMPILE_MODES, help='a mode of torch.compile')
    parser.add_argument('--channels-last', action='store_true', help='memory format of the network')
    parser.add_argument('--vae-slicing', action='store_true', help='less memory in large batches')
    return parser.parse_args(argv)


def save(picture: np.ndarray, path: Path, origin: dict) -> None:
    """Writes a PNG, whole or not at all, that says where it comes from."""
    text = PngInfo()
    text.add_text(ORIGIN, json.dumps(origin))
    with atomic_write(path) as unfinished:
        Image.fromarray(picture).save(unfinished, format='PNG', pnginfo=text)


def origin_of(args: argparse.Namespace, source: Path) -> dict:
    """What decides the result of a picture or video but for rounding."""
    return {
        'type': args.type,
        'config': Path(args.config).stem,
        'checkpoint': _describe(Path(args.checkpoint)),
        'seed': args.seed,
        'precision': [args.precision, args.encoder_precision, args.tf32],
        'picture': _describe(source),
    }


def _describe(path: Path) -> list:
    """A file's name, size and time of its last change; of a URL, its last part."""
    if not path.is_file():
        return [path.name]
    status = path.stat()
    return [path.name, status.st_size, int(status.st_mtime)]


def is_done(result: Path, origin: dict) -> bool:
    """Whether a result is there, from an earlier run; frames may be there in part, so never.

    Raises:
        FileExistsError: something else is there.
    """
    is_folder = result.is_dir()
    picture = result / FIRST_FRAME if is_folder else result
    if not picture.is_file():
        return False
    found = read_origin(picture)
    if found != origin:
        changes = [
            f'{key} {found.get(key)}, now {value}'
            for key, value in origin.items()
            if found.get(key) != value
        ]
        raise FileExistsError(
            f"'{picture}' is not what this run would make "
            f'({"; ".join(changes) if found else "not made by it"}); choose another --out, or '
            '--overwrite.'
        )
    return not is_folder


def read_origin(result: Path) -> dict:
    """What a result says of where it comes from; {} if nothing."""
    try:
        if is_video(result):
            return json.loads(read_note(result))
        with result.open('rb') as file:
            return json.loads(open_lazily(file).info[ORIGIN])
    except (OSError, KeyError, ValueError):
        return {}


class Prediction:
    """Predicts and saves as the command line says, and keeps count.

    Attributes:
        written: results, of pictures and of videos.
        skipped: 'file: reason' of what could not be done.
    """

    def __init__(self, args: argparse.Namespace, inferencer: DISInferencer) -> None:
        self.args, self.inferencer = args, inferencer
        self.written: list[Path] = []
        self.skipped: list[str] = []

    def pictures(self, jobs: list[tuple[Path, Path]]) -> None:
        """Pictures to PNGs: (picture, its result) each."""
        with tqdm(total=len(jobs), unit='picture', disable=not jobs) as bar:
            # what memory did not suffice for beside others may do alone
            for source, target in self._side_by_side(jobs, bar):
                try:
                    self._write(self.inferencer(source), source, target)
                except PICTURE_ERRORS as error:
                    self.skipped.append(f'{source}: {reason(error)}')
                bar.update()

    def _side_by_side(self, jobs: list[tuple[Path, Path]], bar: tqdm) -> list[tuple[Path, Path]]:
        """Jobs done while others are read and written; those for which memory did not suffice."""
        targets = dict(jobs)
        short = []

        def give_up(name: str | Path, error: Exception) -> None:
            if is_out_of_memory(error):
                short.append((Path(name), targets[Path(name)]))
                return
            self.skipped.append(f'{name}: {reason(error)}')
            bar.update()

        results = self._predict((picture for picture, _ in jobs), on_error=give_up)
        # written while the network takes the next ones
        for result, future in map_ahead(
            lambda result: self._write(result, *jobs[result.index]),
            results,
            self.args.batch_size,
            lambda result: result.mask.size,
            PIXEL_BUDGET,
        ):
            try:
                future.result()
                bar.update()
            except PICTURE_ERRORS as error:
                give_up(jobs[result.index][0], error)
        return short

    def _write(self, result: DISResult, source: Path, target: Path) -> None:
        save(PICTURES[self.args.type](result), target, origin_of(self.args, source))
        self.written.append(target)  # here, for an interrupted run finishes what was begun

    def video(self, source: Path, target: Path) -> None:
        """A video to a video, or to pictures in a folder; at its first bad frame it is skipped."""
        try:
            reader = VideoReader(source)
            frames = self._predict(reader, stem=source.stem, on_error=_raise)
            frames = tqdm(frames, desc=source.name, unit='frame')
            if self.args.frames:
                target.mkdir(exist_ok=True)
                result = None
                for result in frames:
                    path = target / f'{result.index:06d}.png'
                    save(PICTURES[self.args.type](result), path, origin_of(self.args, source))
                if result is None:
                    raise ValueError('the video has no frames.')
            else:
                with atomic_write(target) as unfinished:
                    writer = VideoWriter(unfinished, reader.fps)
                    for result in frames:
                        writer.write(PICTURES[self.args.type](result))
                    writer.close()
                    append_note(unfinished, json.dumps(origin_of(self.args, source)))
            self.written.append(target)
        except PICTURE_ERRORS as error:
            self.skipped.append(f'{source}: {reason(error)}')

    def _predict(self, pictures: Iterable, **options) -> Iterable[DISResult]:
        for result in self.inferencer(pictures, batch_size=self.args.batch_size, **options):
            if self.args.type == 'edge' and result.edge is None:
                sys.exit(
                    f'the model of {self.args.config} predicts no edges; choose another --type.'
                )
            yield result


def _raise(name: str, error: Exception) -> None:
    raise error


def plan(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """(input, its result) each.

    Raises:
        FileNotFoundError, ValueError: An input is not there, all of them are results, results would
            clash, or a video cannot hold what is asked for.
    """
    folders = [Path(name).resolve() for name in args.input if Path(name).is_dir()]
    out = args.out.resolve()
    if out in folders:
        # repeated, the run would take its masks for pictures
        raise ValueError(f"--out '{args.out}' is a folder of pictures; choose another.")
    video_suffix = '' if args.frames else '.mp4'  # of a folder, or of a video
    found = find_pictures(args.input)
    # a pattern may reach results of an earlier run
    sources = [
        path
        for path in found
        if not (path.parent.resolve().is_relative_to(out) and read_origin(path))
    ]
    if not sources:
        raise ValueError(f"all inputs ({len(found)}) are results in --out '{args.out}'.")
    if len(sources) < len(found):
        print(f"left out {len(found) - len(sources)} of the inputs: results in --out '{args.out}'")
    if args.type == 'cutout' and not args.frames and any(map(is_video, sources)):
        raise ValueError('a video cannot be transparent; choose --frames or another --type.')
    results = name_results(
        sources, args.out, lambda source: video_suffix if is_video(source) else '.png'
    )
    return list(zip(sources, results, strict=True))


def is_video(path: Path) -> bool:
    """Whether the file's name says that it is a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def main(argv: list[str] | None = None) -> int:
    """Predict and save; returns the exit code."""
    args = parse_args(argv)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.batch_size < 1:
            raise ValueError(f'--batch-size {args.batch_size}: expected at least 1.')
        jobs = plan(args)
        if args.out.is_file():
            raise NotADirectoryError(
                f"--out '{args.out}' is a file; expected a folder for results."
            )
        args.out.mkdir(parents=True, exist_ok=True)
        if not os.access(args.out, os.W_OK):
            raise PermissionError(f"cannot write to --out '{args.out}'.")
        left = [
            job for job in jobs if args.overwrite or not is_done(job[1], origin_of(args, job[0]))
        ]
        inferencer = DISInferencer(
            args.config,
            args.checkpoint,
            args.device,
            edge=args.type in ('edge', 'panel'),
            seed=args.seed,
            precision=args.precision,
            encoder_precision=args.encoder_precision,
            tf32=args.tf32,
            compile=args.compile,
            channels_last=args.channels_last,
            vae_slicing=args.vae_slicing,
        )
    prediction = Prediction(args, inferencer)
    start = time.perf_counter()
    interrupted = False
    try:
        prediction.pictures([job for job in left if not is_video(job[0])])
        for source, target in left:
            if is_video(source):
                prediction.video(source, target)
    except KeyboardInterrupt:
        interrupted = True
        print('\ninterrupted; the same command goes on from here', file=sys.stderr)

    seconds = time.perf_counter() - start
    print(f'{len(prediction.written)} of {len(jobs)} written to {args.out}, in {seconds:.1f} s')
    if len(left) < len(jobs):
        print(f'{len(jobs) - len(left)} were there already (--overwrite replaces them)')
    for line in prediction.skipped:
        print(f'skipped {line}', file=sys.stderr)
    if interrupted:
        return 128 + signal.SIGINT  # as shells say it
    return 1 if prediction.skipped else 0


if __name__ == '__main__':
    sys.exit(main())
