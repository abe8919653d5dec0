#!/usr/bin/env python
"""Predicts masks of images: python tools/predict.py [MODEL | CONFIG CKPT] INPUT... [--out DIR] ...

MODEL is the name of a model that comes with the package: u2netp, which is taken if none is given,
diffdis_small (both for photographs) or diffdis_tiny (for synthetic images). A CONFIG is given by
its file, its name in configs/ or a MODEL; CKPT is a .pth or .safetensors file, a URL or a MODEL. An
ONNX file of `export` stands for both, as MODEL does.

Inputs are files, folders (every file directly inside, except hidden ones), glob patterns (`**`
searches sub-folders) and `@FILE`, a file that lists any of these, one a line. Each result is
written to `DIR/<stem>.png`, at the size of its image as a viewer shows it; with --keep-tree, in the
sub-folder in which a pattern found the image. Images of the same stem keep their whole file name in
the result's, preceded by the folder's if that is not enough. A file that cannot be read is reported
at the end, and the others are predicted; a full disk ends the run. A folder of inputs cannot be
--out; results in --out that a pattern reaches are left out. The input `-` is one image from
standard input; its result goes to standard output, as that of one file does with `--out -`.

Results are written whole or not at all, and DIR/predict.json records where each comes from.
Finished results are skipped, so that an interrupted run goes on where it stopped if it is repeated;
those of another input, config or weights are made anew. Contents are compared, not names and times.
Results of other options, and files that are no results, raise an error unless --overwrite.

A video becomes a video, `DIR/<stem>.mp4`, all frames of which start from the same noise, without
sound (a last odd column or row is cut off); or, with --frames, the images `DIR/<stem>/000000.png`,
..., which are all made again if the run is repeated. Without --frames, --crop, --format and
--quality do not apply to videos.

Processes and machines share the inputs if a Slurm array, srun or torchrun starts the command, or by
--shard 1/4 to 4/4, with equal inputs and --out. The last to end reports that all is done.

Exit code: 0 if everything was done, 1 if files were skipped or the command holds a mistake, 130 if
it was interrupted (Ctrl-C).
"""

import argparse
import os
import runpy
import signal
import sys
import time
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from mmengine.config import Config

    from mmdiffdis.apis import DISInferencer

_ROOT = Path(__file__).resolve().parents[1]  # or an installed package's folder `.mim`
_PACKAGE = _ROOT.parent if _ROOT.name == '.mim' else _ROOT / 'mmdiffdis'
# Read without the package, because importing it takes seconds.
_OPTIONS, _SHIPPED, _ARGUMENTS = (
    SimpleNamespace(**runpy.run_path(str(_PACKAGE / path)))
    for path in ('images/options.py', 'utils/shipped.py', 'utils/arguments.py')
)
STREAM, is_pattern, folder_of = _ARGUMENTS.STREAM, _ARGUMENTS.is_pattern, _ARGUMENTS.folder_of
MODELS = tuple(_SHIPPED.shipped_models())  # the first is the default
# The package's own constants, repeated for the same reason.
PRECISIONS = ('float32', 'bfloat16', 'float16')
COMPILE_MODES = ('default', 'max-autotune-no-cudagraphs')
# Options that decide the results, except for rounding, besides those of `ResultOptions`, and those
# that do not.
DECISIVE = ('seed', 'precision', 'encoder_precision', 'tf32', 'box')
INCIDENTAL = (
    'config',
    'checkpoint',
    'device',
    'batch_size',
    'compile',
    'cuda_graphs',
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
        fromfile_prefix_chars='@',
        usage='%(prog)s [MODEL | CONFIG CKPT] INPUT [INPUT ...] [OPTION ...]',
    )
    parser.convert_arg_line_to_args = lambda line: [line] if line.strip() else []
    add = parser.add_argument
    add('input', nargs='+', metavar='INPUT', help='files, folders, glob patterns or @FILE')
    add(
        '--out', type=_folder, help='folder for the results (default: masks/, ... beside the input)'
    )
    add(
        '--type',
        choices=_OPTIONS.TYPES,
        default='mask',
        help='what to write (default: %(default)s)',
    )
    formats = _OPTIONS.FORMATS
    add('--format', choices=formats, default='png', help='of the files (default: %(default)s)')
    add('--quality', type=int, help='1 to 100, of jpg (default: 90) and webp (default: lossless)')
    add('--background', metavar='COLOUR|FILE|blur', help='what cut-outs are laid on')
    margin = 'cut to the subject and MARGIN pixels around it (default: 0)'
    add('--crop', nargs='?', const=0, type=int, metavar='MARGIN', help=margin)
    add('--size', nargs=2, type=int, metavar=('W', 'H'), help='scale into W x H pixels, and pad')
    add('--threshold', type=float, metavar='LEVEL', help='masks of 0 and 1, which is above LEVEL')
    # None in records, as in those of runs without the option
    clean = 'keep the largest piece of a mask, and fill its holes'
    add('--clean', action='store_true', default=None, help=clean)
    box = 'pixels of the part of each image that holds the subject; elsewhere the mask is 0'
    add('--box', type=_box, metavar='X0,Y0,X1,Y1', help=box)
    tree = 'write into the sub-folders in which patterns find images'
    add('--keep-tree', action='store_true', help=tree)
    add('--overwrite', action='store_true', help='replace results that are there')
    add('--frames', action='store_true', help='write the frames of a video as images')
    add('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    add('--shard', metavar='I/N', help="share of the inputs (default: the launcher's, or 1/1)")
    add('--seed', type=int, help="seed of the noise (default: the config's)")
    add('--batch-size', type=int, default=1, help='number of images at once')
    add('--precision', choices=PRECISIONS, default='float32')
    add('--encoder-precision', choices=PRECISIONS, help='default: float32')
    add('--tf32', action='store_true', help='TF32 for float32 products on NVIDIA GPUs')
    add('--compile', choices=COMPILE_MODES, help='mode of torch.compile')
    add('--cuda-graphs', action='store_true', help='record and replay the network on NVIDIA GPUs')
    add('--channels-last', action='store_true', help='memory format of the network')
    add('--vae-slicing', action='store_true', help='less memory in large batches')
    args = parser.parse_args(argv)
    try:
        args.config, args.checkpoint, args.input = _ARGUMENTS.split_names(args.input, MODELS)
        if args.out is None:
            is_stream = args.input[0] == STREAM
            args.out = Path(STREAM) if is_stream else folder_of(args.input[0]) / f'{args.type}s'
        args.size = args.size and tuple(args.size)
        names = [field.name for field in fields(_OPTIONS.ResultOptions)]
        args.options = {name: getattr(args, name) for name in names}
        _OPTIONS.ResultOptions(**args.options)  # refuses impossible ones
        _check(args)
    except ValueError as error:
        parser.error(str(error))
    return args


def _box(text: str) -> tuple[int, ...]:
    try:
        left, top, right, bottom = map(int, text.split(','))
        if left < right and top < bottom:
            return left, top, right, bottom
    except ValueError:  # other than four integers
        pass
    raise argparse.ArgumentTypeError(f"'{text}': expected left,top,right,bottom in pixels")


def _check(args: argparse.Namespace) -> None:
    """Raises ValueError for inputs and options that exclude each other."""
    name, is_stream = args.input[0], str(args.out) == STREAM
    if STREAM in args.input and not is_stream:
        raise ValueError("the result of input '-' goes to standard output: leave out --out")
    if is_stream and (len(args.input) > 1 or os.path.isdir(name) or is_pattern(name)):
        raise ValueError(f'{" ".join(args.input)}: expected one image for standard output')
    if args.keep_tree and not any(map(is_pattern, args.input)):
        raise ValueError("--keep-tree: expected a pattern, in quotes, e.g. 'photos/**/*.jpg'")
    unused = {
        '--overwrite': args.overwrite,
        '--frames': args.frames,
        '--batch-size': args.batch_size != 1,
        '--shard': args.shard is not None,
    }
    for option, is_given in unused.items():
        if is_given and is_stream:
            raise ValueError(f'{option} changes nothing of one image to standard output')


def unused_options(
    args: argparse.Namespace, config: 'Config', sources: list[Path], device: 'torch.device'
) -> list[str]:
    """Returns the options that change nothing, with the reason."""
    from mmseg.registry import MODELS

    from mmdiffdis.apis.video import is_video

    settings = getattr(MODELS.get(config.model.type), 'TEST_DEFAULTS', {'seed': 0})
    to_video = any(map(is_video, sources)) and not args.frames
    options = {
        '--frames (no video)': args.frames and not any(map(is_video, sources)),
        '--crop (a video, without --frames)': args.crop is not None and to_video,
        '--format (a video, without --frames)': args.format != 'png' and to_video,
        '--quality (a video, without --frames)': args.quality is not None and to_video,
        '--seed (the model has no noise)': args.seed is not None and 'seed' not in settings,
        '--tf32 (no NVIDIA GPU)': args.tf32 and device.type != 'cuda',
        '--vae-slicing (one image at once)': args.vae_slicing and args.batch_size == 1,
    }
    return [option for option, is_unused in options.items() if is_unused]


def _load(args: argparse.Namespace, config: 'Config') -> 'DISInferencer':
    from mmdiffdis.apis import DISInferencer
    from mmdiffdis.apis.shards import local_gpu
    from mmdiffdis.utils.memory import keep_freed_memory

    keep_freed_memory()
    return DISInferencer(
        config,
        args.checkpoint,
        args.device or local_gpu(),
        edge=args.type in ('edge', 'panel'),
        seed=args.seed,
        precision=args.precision,
        encoder_precision=args.encoder_precision,
        tf32=args.tf32,
        compile=args.compile,
        cuda_graphs=args.cuda_graphs,
        channels_last=args.channels_last,
        vae_slicing=args.vae_slicing,
    )


def _predict_stream(args: argparse.Namespace) -> bytes:
    """Returns the result of the image that is the only input, or that standard input holds."""
    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.apis.predicting import NoEdgesError, encode, is_empty
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.images.options import ResultOptions
    from mmdiffdis.images.reading import open_stream

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS, NoEdgesError)):
        is_stdin = args.input[0] == STREAM
        image = open_stream(sys.stdin.buffer, 'standard input') if is_stdin else args.input[0]
        config = load_config(args.config, needs=['model'])
        inferencer = _load(args, config)
        for option in unused_options(args, config, [], inferencer.device):
            print(f'without effect here: {option}')
        result, options = inferencer(image, box=args.box), ResultOptions(**args.options)
        if is_empty(result, options):
            print(f'nothing was found, no pixel is above {options.level}')
        return encode(result, options)


def main(argv: list[str] | None = None) -> int:
    """Predicts as the command line says; returns the exit code."""
    args = parse_args(argv)
    if str(args.out) == STREAM:
        with redirect_stdout(sys.stderr):  # what is printed is no part of the image
            content = _predict_stream(args)
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.apis.configs import image_transforms, load_config
    from mmdiffdis.apis.predicting import (
        NoEdgesError,
        Prediction,
        Record,
        hash_file,
        hash_weights,
        plan,
    )
    from mmdiffdis.apis.shards import find_shard, report_together
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.images.options import ResultOptions
    from mmdiffdis.utils.environment import versions
    from mmdiffdis.utils.files import check_writable, printable

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.batch_size < 1:
            raise ValueError(f'--batch-size {args.batch_size}: expected at least 1')
        if args.out.is_file():
            raise NotADirectoryError(f"--out '{args.out}' is a file: expected a folder for results")
        config = load_config(args.config, needs=['model'])
        options = ResultOptions(**args.options)
        patterns = filter(is_pattern, args.input if args.keep_tree else ())
        starts = [*map(folder_of, patterns)]
        shard = find_shard(args.shard)
        record = Record(args.out, shard)
        all_jobs, left_out = plan(args.input, options, record, args.frames, starts)
        jobs = shard.of(all_jobs)
        if shard.count > 1:
            print(f'share {shard} ({shard.origin}): {len(jobs)} of {len(all_jobs)} inputs')
        if left_out:
            print(f"left out {left_out} of the inputs: results in --out '{args.out}'")
        check_writable(record.path)
        inferencer = _load(args, config)
        decisive = {name: getattr(args, name) for name in DECISIVE} | args.options
        decisive.pop('format')  # the result's name has it
        settings = decisive | {
            'model': config.model,
            'pipeline': image_transforms(config),
            'weights': hash_weights(inferencer.model),
            'background_file': options.background_file and hash_file(options.background_file),
        }
        details = {name: getattr(args, name) for name in INCIDENTAL} | {'versions': versions()}
        record.set_run(settings, details)
        remaining = [job for job in jobs if args.overwrite or not record.is_done(job[1], job[0])]
        outdated = 0 if args.overwrite else sum(result.is_file() for _, result in remaining)
    for option in unused_options(
        args, config, [source for source, _ in all_jobs], inferencer.device
    ):
        print(f'without effect here: {option}', file=sys.stderr)
    prediction = Prediction(inferencer, record, options, args.batch_size, args.frames, args.box)
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
    for line in prediction.remarks():
        print(line)
    if outdated:
        print(f'{outdated} of another input, config or weights were to be made anew')
    for line in prediction.skipped:
        print(f'skipped {line}', file=sys.stderr)
    if stopped:
        print(f'stopped: {stopped}; the same command goes on from here', file=sys.stderr)

    def report_all() -> None:
        done, skipped = record.summarise(all_jobs)
        print(f'all shares: {done} of {len(all_jobs)} are done, {len(skipped)} skipped', flush=True)
        for line in skipped:
            print(f'  {printable(line)}', flush=True)

    if shard.count > 1 and not interrupted:
        report_together(report_all)
    if interrupted:
        return 128 + signal.SIGINT  # the convention of shells
    return 1 if prediction.skipped or stopped else 0


if __name__ == '__main__':
    sys.exit(main())
