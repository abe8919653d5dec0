#!/usr/bin/env python
"""Predicts masks of images: python tools/predict.py [MODEL | CONFIG CKPT] INPUT... [--out DIR] ...

MODEL is the name of a model that comes with the package: u2netp (for photographs), which is taken
if none is given, or diffdis_tiny (for synthetic images). A CONFIG is given by its file, its name in
configs/ or a MODEL; CKPT is a .pth or .safetensors file, a URL or a MODEL. An ONNX file of `export`
stands for both, as MODEL does.

Inputs are files, folders (every file directly inside, except hidden ones) and glob patterns (`**`
searches sub-folders). Each result is written to `DIR/<stem>.png`, at the size of its image as a
viewer shows it. Images of the same stem keep their whole file name in the result's, preceded by the
folder's if that is not enough. A file that cannot be read is reported at the end, and the others
are predicted; a full disk ends the run. A folder of inputs cannot be --out; results in --out that a
pattern reaches are left out.

Results are written whole or not at all, and DIR/predict.json records where each comes from.
Finished results are skipped, so that an interrupted run goes on where it stopped if it is repeated;
those of another input, config or weights are made anew. Contents are compared, not names and times.
Results of other options, and files that are no results, raise an error unless --overwrite.

A video becomes a video, `DIR/<stem>.mp4`, all frames of which start from the same noise, without
sound (a last odd column or row is cut off); or, with --frames, the images `DIR/<stem>/000000.png`,
..., which are all made again if the run is repeated.

Exit code: 0 if everything was done, 1 if files were skipped or the command holds a mistake, 130 if
it was interrupted (Ctrl-C).
"""

import argparse
import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

# The package's own constants, repeated because importing it takes seconds.
TYPES = ('mask', 'cutout', 'overlay', 'edge', 'panel')
PRECISIONS = ('float32', 'bfloat16', 'float16')
MODELS = ('u2netp', 'diffdis_tiny')  # the first is the default
WEIGHTS = ('.pth', '.pt', '.ckpt', '.bin', '.safetensors')  # suffixes of checkpoints
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')
# Options that decide the results, except for rounding, and those that do not.
DECISIVE = ('type', 'seed', 'precision', 'encoder_precision', 'tf32')
LISTED = 20  # images in which nothing was found
INCIDENTAL = (
    'config',
    'checkpoint',
    'device',
    'batch_size',
    'compile',
    'channels_last',
    'vae_slicing',
)


def _folder(name: str) -> Path:
    if not name:  # of an unset shell variable; the path of '' is the current folder
        raise argparse.ArgumentTypeError("is empty (''); '.' is the current folder")
    return Path(name)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='%(prog)s [MODEL | CONFIG CKPT] INPUT [INPUT ...] [OPTION ...]',
    )
    add = parser.add_argument
    add('input', nargs='+', metavar='INPUT', help='files, folders or glob patterns')
    add(
        '--out', type=_folder, help='folder for the results (default: masks/, ... beside the input)'
    )
    add('--type', choices=TYPES, default='mask', help='what to write (default: %(default)s)')
    add('--overwrite', action='store_true', help='replace results that are there')
    add('--frames', action='store_true', help='write the frames of a video as images')
    add('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    add('--seed', type=int, help="seed of the noise (default: the config's)")
    add('--batch-size', type=int, default=1, help='number of images at once')
    add('--precision', choices=PRECISIONS, default='float32')
    add('--encoder-precision', choices=PRECISIONS, help='default: float32')
    add('--tf32', action='store_true', help='TF32 for float32 products on NVIDIA GPUs')
    add('--compile', choices=COMPILE_MODES, help='mode of torch.compile')
    add('--channels-last', action='store_true', help='memory format of the network')
    add('--vae-slicing', action='store_true', help='less memory in large batches')
    args = parser.parse_args(argv)
    try:
        args.config, args.checkpoint, args.input = _split(args.input)
    except ValueError as error:
        parser.error(str(error))
    if args.out is None:
        args.out = _beside(args.input[0]) / f'{args.type}s'
    return args


def _split(names: list[str]) -> tuple[str, str | None, list[str]]:
    """Returns config, checkpoint and inputs; those that are not there are a model's of the package.

    A first name is that of a config if it ends in '.py', if a checkpoint follows, or if it is
    neither there nor looks like a file or a pattern. That of an ONNX file stands alone.

    Raises:
        ValueError: If there is a model, and no input.
    """
    first, second = names[0], ''.join(names[1:2])
    is_checkpoint = '://' in second or Path(second).suffix in WEIGHTS or second in MODELS
    is_onnx = first.endswith('.onnx')
    is_input = not is_onnx and (os.path.lexists(first) or Path(first).suffix or _is_pattern(first))
    is_alone = is_onnx or first in MODELS
    if is_checkpoint or first.endswith('.py') or not (is_input or is_alone):
        if len(names) < 3:
            raise ValueError(
                f'{" ".join(names)}: expected CONFIG CKPT INPUT..., or one of '
                f'{", ".join(MODELS)} before INPUT..., or files, folders and patterns alone'
            )
        return first, second, names[2:]
    if is_input:
        return MODELS[0], MODELS[0], names
    if not second:
        raise ValueError(f'{first}: expected files, folders or patterns after the name of a model')
    return first, None if is_onnx else first, names[1:]


def _beside(name: str) -> Path:
    """Returns the folder that holds an input; of a pattern, that of its part without wildcards."""
    if os.path.lexists(name):
        return Path(name).parent
    return Path(*itertools.takewhile(lambda part: not _is_pattern(part), Path(name).parts[:-1]))


def _is_pattern(name: str) -> bool:
    return not set(name).isdisjoint('*?[')


def unused_options(
    args: argparse.Namespace, config: 'Config', sources: list[Path], device: 'torch.device'
) -> list[str]:
    """Returns the options that change nothing, with the reason."""
    from mmseg.registry import MODELS

    from mmdiffdis.apis.video import is_video

    settings = getattr(MODELS.get(config.model.type), 'TEST_DEFAULTS', {'seed': 0})
    options = {
        '--frames (no video)': args.frames and not any(map(is_video, sources)),
        '--seed (the model has no noise)': args.seed is not None and 'seed' not in settings,
        '--tf32 (no NVIDIA GPU)': args.tf32 and device.type != 'cuda',
        '--vae-slicing (one image at once)': args.vae_slicing and args.batch_size == 1,
    }
    return [option for option, is_unused in options.items() if is_unused]


def main(argv: list[str] | None = None) -> int:
    """Predicts as the command line says; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.apis import DISInferencer
    from mmdiffdis.apis.configs import image_transforms, load_config
    from mmdiffdis.apis.predicting import (
        RECORD_NAME,
        NoEdgesError,
        Prediction,
        Record,
        hash_weights,
        plan,
    )
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.environment import versions
    from mmdiffdis.utils.files import check_writable, printable

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.batch_size < 1:
            raise ValueError(f'--batch-size {args.batch_size}: expected at least 1')
        if args.out.is_file():
            raise NotADirectoryError(f"--out '{args.out}' is a file: expected a folder for results")
        config = load_config(args.config, needs=['model'])
        record = Record(args.out)
        jobs, left_out = plan(args.input, args.type, args.frames, record)
        if left_out:
            print(f"left out {left_out} of the inputs: results in --out '{args.out}'")
        check_writable(args.out / RECORD_NAME)
        inferencer = DISInferencer(
            config,
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
        settings = {name: getattr(args, name) for name in DECISIVE} | {
            'model': config.model,
            'pipeline': image_transforms(config),
            'weights': hash_weights(inferencer.model),
        }
        details = {name: getattr(args, name) for name in INCIDENTAL} | {'versions': versions()}
        record.set_run(settings, details)
        remaining = [job for job in jobs if args.overwrite or not record.is_done(job[1], job[0])]
        outdated = 0 if args.overwrite else sum(result.is_file() for _, result in remaining)
    for option in unused_options(args, config, [source for source, _ in jobs], inferencer.device):
        print(f'without effect here: {option}', file=sys.stderr)
    prediction = Prediction(inferencer, record, args.type, args.batch_size, args.frames)
    start = time.perf_counter()
    interrupted, stopped = False, None
    with one_line_errors((NoEdgesError,)):
        try:
            prediction.run(remaining)
        except KeyboardInterrupt:
            interrupted = True
            print('\ninterrupted; the same command goes on from here', file=sys.stderr)
        except OSError as error:
            stopped = error

    seconds = time.perf_counter() - start
    written, model = len(prediction.written), Path(args.config).stem
    print(f'{written} of {len(jobs)} written to {args.out} by {model}, in {seconds:.1f} s')
    if len(remaining) < len(jobs):
        print(f'{len(jobs) - len(remaining)} were there already (--overwrite replaces them)')
    if prediction.empty:
        print(f'nothing was found in {len(prediction.empty)}, no pixel of which is above 0.5:')
        for path in prediction.empty[:LISTED]:
            print(f'  {printable(str(path))}')
        if len(prediction.empty) > LISTED:
            print(f'  and {len(prediction.empty) - LISTED} more')
    if any(path.suffix == '.mp4' for path in prediction.written):
        print('videos were written without the sound of their inputs')
    if outdated:
        print(f'{outdated} of another input, config or weights were to be made anew')
    for line in prediction.skipped:
        print(f'skipped {line}', file=sys.stderr)
    if stopped:
        print(f'stopped: {stopped}; the same command goes on from here', file=sys.stderr)
    if interrupted:
        return 128 + signal.SIGINT  # the convention of shells
    return 1 if prediction.skipped or stopped else 0


if __name__ == '__main__':
    sys.exit(main())
