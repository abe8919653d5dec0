#!/usr/bin/env python
"""Compares speed, memory and accuracy of models on the same images, in one run:

    python tools/analysis_tools/benchmark.py CONFIG[:CKPT] ... --out DIR \\
        [--images DIR] [--gt DIR] [--variants mask reference ...] [--device DEVICE] [--repeats N]
        [--cold]

Models take turns on every image, `--repeats` times, so that background load affects all of them
alike; medians over images and repeats are shown, with the quartiles of their sum. Each model
predicts the first image once before the clock starts. Peak memory, weights included, is measured
before, by one prediction of the largest image in a process of its own. CONFIG is a path, or a name
in configs/; a model that comes with the package stands for both. Without CKPT, weights are as the
config initialises them (with --cold, random: time and memory are the same); without --images,
photographs of scikit-image are used.

Variants; models that predict no edges, and those without a VAE, lack some of them:

    mask           the mask alone
    edge           mask and edge
    reference      what the released implementation computes: float32 (on NVIDIA GPUs TF32, torch's
                   default), both halves and both maps in each of the passes of the config's
                   `tta_pipeline`, with the image encoded in each
    tf32           float32 with TF32 on NVIDIA GPUs, the same as mask elsewhere
    float16, bfloat16
                   half precision, except of the VAE encoder; float16_encoder: including it
    channels_last  feature maps in the channels-last memory format
    compile        torch.compile
    fast           float16_encoder and channels_last
    cuda_graphs    fast, recorded and replayed as CUDA graphs; for NVIDIA GPUs
    taesd_decoder, taesd
                   TAESD in place of the VAE's decoder, or of the whole VAE: changes the masks
    onnx           exported and run by onnxruntime; its memory is not measured

"resize" is what follows the network: to the original size, and to the CPU. "differs" compares a
variant's masks with those of the model's first variant: the difference, in 255ths, that 99.9 % of
the pixels keep within.

DIR receives benchmark.md, benchmark.csv, benchmark.png and the masks. The tables are written again
after every image, so that an interrupted run keeps what it has measured. Every image is decoded
before anything is measured. An image that a model fails on is left out for all and reported.

Exit code: 0 if everything was measured, 1 if not.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from mmdiffdis.apis.benchmarking import Candidate

# The package's own constant, repeated because importing it takes seconds.
VARIANTS = (
    *('mask', 'edge', 'reference', 'tf32', 'float16', 'float16_encoder', 'bfloat16'),
    *('channels_last', 'compile', 'fast', 'cuda_graphs', 'taesd_decoder', 'taesd', 'onnx'),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', nargs='+', metavar='CONFIG[:CKPT]')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--images', metavar='DIR', help='images')
    parser.add_argument(
        '--gt', type=Path, metavar='DIR', help='their ground-truth masks, of the same stems'
    )
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=['mask'])
    parser.add_argument('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    parser.add_argument('--repeats', type=int, default=3, metavar='N')
    parser.add_argument('--cold', action='store_true', help='without CKPT: random weights')
    return parser.parse_args(argv)


def read_images(images: list[Path], gt: Path | None) -> tuple[Path, dict[Path, 'np.ndarray']]:
    """Decodes all files; returns the image of the most pixels, and the ground truth of each.

    Raises:
        FileNotFoundError: If an image has no ground truth.
        ValueError: If a file cannot be decoded, or a ground truth has another size than its image.
    """
    from mmdiffdis.apis.benchmarking import read_gt
    from mmdiffdis.images.reading import read_rgb

    pixels, ground_truth = {}, {}
    for image in images:
        shape = read_rgb(str(image)).shape[:2]
        pixels[image] = shape[0] * shape[1]
        if gt:
            ground_truth[image] = mask = read_gt(image, gt)
            if mask.shape != shape:
                raise ValueError(
                    f"the ground truth of '{image}' has {mask.shape[1]}x{mask.shape[0]} pixels, "
                    f'expected the {shape[1]}x{shape[0]} of its image'
                )
    return max(pixels, key=pixels.get), ground_truth


def measure(
    candidates: dict[Path, 'Candidate'],
    images: list[Path],
    ground_truth: dict[Path, 'np.ndarray'],
    repeats: int,
) -> Iterator[dict[Path, str]]:
    """Predicts all images with all models in turn, and keeps times, scores and differences.

    Args:
        candidates: Models by the folders of their masks.
        images: Images.
        ground_truth: Masks of the images, or empty.
        repeats: Number of predictions of each image.

    Yields:
        After each image: the images that a model failed on so far -> the model and the reason.
    """
    from tqdm import tqdm

    from mmdiffdis.apis.decoding import IMAGE_ERRORS, reason
    from mmdiffdis.utils.files import is_disk_full

    failed: dict[Path, str] = {}
    jobs = [(repeat, image) for repeat in range(repeats) for image in images]
    with tqdm(total=len(jobs) * len(candidates), desc='measuring', unit='prediction') as bar:
        for repeat, image in jobs:
            results = []
            for masks, candidate in candidates.items():
                try:
                    results.append(candidate.predict(image, masks))
                except IMAGE_ERRORS as error:
                    if is_disk_full(error):
                        raise
                    failed[image] = f'{candidate.name}: {reason(error)}'
                    break
                bar.update()
            if image not in failed:
                first_masks: dict = {}
                for candidate, (result, seconds) in zip(candidates.values(), results, strict=True):
                    candidate.seconds.append(seconds)
                    if repeat:
                        continue
                    first = first_masks.setdefault(candidate.model, result.mask)
                    candidate.compare(result.mask, first)
                    if ground_truth:
                        candidate.score(result.mask, ground_truth[image])
            yield failed


def save_tables(candidates: list['Candidate'], text: str, out: Path) -> str:
    """Writes benchmark.md and benchmark.csv to a folder; returns the content of the first."""
    from mmdiffdis.apis.benchmarking import table
    from mmdiffdis.utils.files import atomic_write
    from mmdiffdis.utils.tables import markdown

    header, rows = table(candidates)
    report = f'{text}\n\n{markdown(header, rows)}\n'
    with atomic_write(out / 'benchmark.md') as path:
        path.write_text(report, encoding='utf-8')
    with (
        atomic_write(out / 'benchmark.csv') as path,
        open(path, 'w', newline='', encoding='utf-8') as file,
    ):
        csv.writer(file).writerows([header, *rows])
    return report


def main(argv: list[str] | None = None) -> int:
    """Measures, and writes the report; returns the exit code."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from tqdm import tqdm

    from mmdiffdis.apis import benchmarking, find_pictures
    from mmdiffdis.apis.inference import choose_device
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.utils.files import check_writable, refuse_folder_of_inputs
    from mmdiffdis.utils.memory import keep_freed_memory

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS, MemoryError)):
        if args.repeats < 1:
            raise ValueError(f'--repeats {args.repeats}: expected at least 1')
        if args.gt is not None and args.images is None:
            raise ValueError('--gt needs --images, whose ground truth it has')
        refuse_folder_of_inputs(args.out, [Path(name) for name in (args.images, args.gt) if name])
        chosen = [
            (model, variant)
            for model in args.model
            for variant in args.variants
            if benchmarking.has_variant(model, variant)
        ]
        if not chosen:
            raise ValueError(f'no model has any of the variants {args.variants}')
        images = find_pictures([args.images]) if args.images else None
        check_writable(args.out / 'benchmark.md', args.out / 'masks' / '0')
        images = images or benchmarking.save_bundled_images(args.out / 'images')
        largest, ground_truth = read_images(images, args.gt)
        device = choose_device(args.device)
        keep_freed_memory()
        # before the models are loaded, which need memory, too
        peaks = []
        for model, variant in tqdm(chosen, desc='measuring memory', unit='model'):
            alone = benchmarking.measure_memory_alone(model, variant, device, largest, args.cold)
            peaks.append(alone)
            if alone is not None:
                tqdm.write(f'{model}, {variant}: {alone / 2**30:.2f} GiB')
        candidates: dict[Path, benchmarking.Candidate] = {}  # by the folder of their masks
        bar = tqdm(chosen, desc='loading', unit='model')
        for (model, variant), peak in zip(bar, peaks, strict=True):
            candidate = benchmarking.load_candidate(model, variant, device, images[0], args.cold)
            candidate.peak_bytes = peak
            masks = args.out / 'masks' / f'{len(candidates)}_{variant}'
            masks.mkdir(exist_ok=True)
            # warm-up: caches, compilation, start of CUDA
            candidate.predict(images[0], masks)
            candidates[masks] = candidate
        models = list(candidates.values())
        report = ''
        for failed in measure(candidates, images, ground_truth, args.repeats):
            if models[0].seconds:
                measured = len(images) - len(failed)
                text = benchmarking.describe(device, measured, args.repeats, bool(args.gt))
                done, planned = len(models[0].seconds), measured * args.repeats
                if done < planned:
                    text += f' UNFINISHED: {done} of {planned} predictions of each model.'
                report = save_tables(models, text, args.out)
        for image, text in failed.items():
            print(f"left out '{image}': {text}", file=sys.stderr)
        if len(failed) == len(images):
            raise ValueError('no image could be measured with all models')
        print(report, flush=True)
        benchmarking.plot(models, args.out / 'benchmark.png')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
