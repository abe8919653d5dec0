#!/usr/bin/env python
"""Compares speed, memory and accuracy of models on the same images, in one run:

    python tools/analysis_tools/benchmark.py CONFIG[:CKPT] ... --out DIR \\
        [--images DIR] [--gt DIR] [--variants mask reference ...] [--device DEVICE] [--repeats N]
        [--cold]

Models take turns on every image, `--repeats` times, so that background load affects all of them
alike; medians over images and repeats are shown, with the quartiles of their sum. Each model
predicts the first image once before the clock starts. CONFIG is a path, or a name in configs/.
Without CKPT, weights are as the config initialises them (with --cold, random: time and memory are
the same); without --images, photographs of scikit-image are used.

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
    compile        torch.compile; cuda_graphs: the same with CUDA graphs
    fast           float16_encoder, channels_last and compile
    taesd_decoder, taesd
                   TAESD in place of the VAE's decoder, or of the whole VAE: changes the masks

"resize" is what follows the network: to the original size, and to the CPU. "differs" compares a
variant's masks with those of the model's first variant: the difference, in 255ths, that 99.9 % of
the pixels keep within.

DIR receives benchmark.md, benchmark.csv, benchmark.png and the masks.
"""

import argparse
import csv
from pathlib import Path

# The package's own constant, repeated because importing it takes seconds.
VARIANTS = (
    *('mask', 'edge', 'reference', 'tf32', 'float16', 'float16_encoder', 'bfloat16'),
    *('channels_last', 'compile', 'cuda_graphs', 'fast', 'taesd_decoder', 'taesd'),
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


def main(argv: list[str] | None = None) -> None:
    """Measures, and writes the report."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, because it reports an unsuitable MMEngine

    from mmdiffdis.apis import benchmarking, find_pictures
    from mmdiffdis.apis.inference import choose_device
    from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
    from mmdiffdis.images.reading import read_size
    from mmdiffdis.utils.tables import markdown

    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.repeats < 1:
            raise ValueError(f'--repeats {args.repeats}: expected at least 1')
        if args.gt is not None and args.images is None:
            raise ValueError('--gt needs --images, whose ground truth it has')
        device = choose_device(args.device)
        images = (
            find_pictures([args.images])
            if args.images
            else benchmarking.save_bundled_images(args.out / 'images')
        )
        for image in images:
            read_size(image)  # raises before anything is measured
        ground_truth = {image: benchmarking.read_gt(image, args.gt) for image in images if args.gt}
        candidates: dict[Path, benchmarking.Candidate] = {}  # by the folder of their masks
        for model in args.model:
            for variant in args.variants:
                candidate = benchmarking.load_candidate(
                    model, variant, device, images[0], args.cold
                )
                if candidate is not None:
                    masks = args.out / 'masks' / f'{len(candidates)}_{variant}'
                    masks.mkdir(parents=True, exist_ok=True)
                    candidates[masks] = candidate
        if not candidates:
            raise ValueError(f'no model has any of the variants {args.variants}')

    for masks, candidate in candidates.items():
        with candidate.measure_memory():  # and warm-up: caches, compilation, start of CUDA
            candidate.predict(images[0], masks)
    for repeat in range(args.repeats):
        for image in images:
            first_masks: dict = {}
            for masks, candidate in candidates.items():
                with candidate.measure_memory():
                    result, seconds = candidate.predict(image, masks)
                candidate.seconds.append(seconds)
                if repeat:
                    continue
                candidate.compare(result.mask, first_masks.setdefault(candidate.model, result.mask))
                if args.gt:
                    candidate.score(result.mask, ground_truth[image])

    header, rows = benchmarking.table(list(candidates.values()))
    text = benchmarking.describe(device, len(images), args.repeats, bool(args.gt))
    report = f'{text}\n\n{markdown(header, rows)}\n'
    (args.out / 'benchmark.md').write_text(report, encoding='utf-8')
    with open(args.out / 'benchmark.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *rows])
    benchmarking.plot(list(candidates.values()), args.out / 'benchmark.png')
    print(report)


if __name__ == '__main__':
    main()
