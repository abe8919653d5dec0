#!/usr/bin/env python
"""Time and memory of a training step, part by part, for several variants of one config.

    python tools/benchmarks/training.py CONFIG [--variants reference amp+frugal_vae ...]
        [--batch-size 4] [--side 1024] [--device cuda] [--steps 5] [--rounds 3] [--out FILE.json]

A variant is a list of options of `tools/train.py --with`, of `amp` for `--amp`, and of `latents`
for latents that `encode_latents.py` has stored, joined by '+'; `reference` is the config as it is:
float32, no checkpointing, the step of the released script. The parts are

    loader     one batch by the config's pipeline, from synthetic PNG images of twice the side
    encode     the VAE: images at four scales, masks, edges
    forward    noise, U-Net, losses
    backward   gradients
    optimizer  the update

Variants take turns, `--rounds` times, in one process with one thread on a CPU. The first step of a
round is not counted, and the fastest step counts. Times are the process's own on a CPU, and the
clock's between synchronisations on a GPU. The peak memory is PyTorch's on a GPU, unknown on a CPU.
Weights are random, so nothing is downloaded.
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config

PARTS = ('loader', 'encode', 'forward', 'backward', 'optimizer')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file, or name of one in configs/')
    parser.add_argument('--variants', nargs='+', default=['reference'], metavar='OPTION+OPTION')
    parser.add_argument('--batch-size', type=int, default=4, metavar='N')
    parser.add_argument('--side', type=int, metavar='PIXELS', help="default: the config's")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--steps', type=int, default=5, metavar='N', help='steps per round')
    parser.add_argument('--rounds', type=int, default=3, metavar='N')
    parser.add_argument('--out', type=Path, metavar='FILE.json')
    return parser.parse_args(argv)


def load_variant(config: str, variant: str, side: int | None) -> 'Config':
    """Returns the config of a variant, its training images at `side` pixels unless that is None.

    `use_latents` is set if the variant has the option `latents`.
    """
    from mmdiffdis.apis.configs import load_config
    from mmdiffdis.engine.options import apply_variant

    config = load_config(config)
    options = variant.split('+')
    config.use_latents = 'latents' in options
    apply_variant(config, '+'.join(o for o in options if o != 'latents') or 'reference')
    config.model.init_cfg = None
    for step in config.train_dataloader.dataset.pipeline:
        if step['type'] == 'DISResize' and side:
            step['scale'] = (side, side)
    return config


def write_pairs(root: Path, side: int, count: int) -> None:
    """Writes synthetic images and masks to `root`/{im,gt}."""
    import cv2

    from mmdiffdis.synthetic import draw_sample

    for folder in ('im', 'gt'):
        (root / folder).mkdir()
    for index in range(count):
        sample = draw_sample(0, 'DIS-TR', index, side, side)
        cv2.imwrite(str(root / 'im' / f'{sample.stem}.png'), sample.image)
        cv2.imwrite(str(root / 'gt' / f'{sample.stem}.png'), sample.mask)


def run_round(config: 'Config', folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Returns the seconds of each part in the fastest step, and on a GPU 'peak_gib'."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper
    from mmseg.registry import DATASETS, MODELS

    from mmdiffdis.apis.flops import EmptyOn
    from mmdiffdis.utils.stopwatch import Stopwatch

    torch.manual_seed(0)
    with EmptyOn(args.device):  # large models are initialised in seconds on a GPU
        model = MODELS.build(config.model)
    model.to(args.device).train()
    if config.get('compile'):
        for method in ('encode_pairs', 'loss'):
            setattr(model, method, torch.compile(getattr(model, method), **config.compile))
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    dataset = dict(config.train_dataloader.dataset, data_root=str(folder), subset='', part=None)
    dataset = DATASETS.build(dataset)
    on_gpu = torch.device(args.device).type == 'cuda'
    stopwatch = Stopwatch(args.device, time.perf_counter if on_gpu else time.process_time)
    pairs = None
    for step in range(1 + args.steps):
        if on_gpu and step == 1:
            torch.cuda.reset_peak_memory_stats()
        with stopwatch.time('loader'):
            batch = pseudo_collate([dataset[i] for i in range(args.batch_size)])
        data = model.data_preprocessor(batch, training=True)
        with wrapper.optim_context(model):
            with stopwatch.time('encode'):
                if pairs is None or not config.use_latents:
                    pairs = model.encode_pairs(**data)
            with stopwatch.time('forward'):
                loss, _ = model.parse_losses(model.loss(pairs, data['data_samples']))
        with stopwatch.time('backward'):
            wrapper.backward(wrapper.scale_loss(loss))
        with stopwatch.time('optimizer'):
            wrapper.step()
            wrapper.zero_grad()
    steps = list(zip(*(stopwatch.seconds[part][1:] for part in PARTS), strict=True))
    result = dict(zip(PARTS, min(steps, key=lambda step: sum(step[1:])), strict=True))
    if on_gpu:
        result['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
    return result


def summarise(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Returns each variant's round with the fastest step, and 'step', the step without loader."""
    with_step = {
        variant: [result | {'step': sum(result[part] for part in PARTS[1:])} for result in results]
        for variant, results in rounds.items()
    }
    return {
        variant: min(results, key=lambda result: result['step'])
        for variant, results in with_step.items()
    }


def to_table(results: dict[str, dict[str, float]]) -> str:
    """Returns Markdown: shares of the first variant's step, speed-up and peak memory."""
    from mmdiffdis.utils.tables import markdown

    first = next(iter(results.values()))
    rows = []
    for variant, result in results.items():
        shares = [f'{result[part] / first["step"]:.2f}' for part in (*PARTS, 'step')]
        peak = f'{result["peak_gib"]:.1f}' if 'peak_gib' in result else '-'
        rows.append([variant, *shares, f'{first["step"] / result["step"]:.2f}', peak])
    return markdown(['variant', *PARTS, 'step', 'times faster', 'peak, GiB'], rows)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parse_args(argv)

    import mmdiffdis  # noqa: F401, isort: skip - first, it reports a missing or unsuitable MMEngine

    import cv2
    import torch
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope
    from tqdm import tqdm

    from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
    from mmdiffdis.utils.files import check_writable, save_json

    cv2.setNumThreads(0)
    if torch.device(args.device).type == 'cpu':
        torch.set_num_threads(1)
    init_default_scope('mmseg')
    MMLogger.get_current_instance().setLevel('ERROR')  # otherwise it prints a line per weight
    rounds: dict[str, list] = {variant: [] for variant in args.variants}
    with one_line_errors(BUILD_ERRORS), tempfile.TemporaryDirectory() as folder:
        if args.out:
            check_writable(args.out)
        configs = {name: load_variant(args.config, name, args.side) for name in args.variants}
        pipeline = configs[args.variants[0]].train_dataloader.dataset.pipeline
        side = next(step['scale'][0] for step in pipeline if step['type'] == 'DISResize')
        write_pairs(Path(folder), 2 * side, args.batch_size)
        for _ in tqdm(range(args.rounds), unit='round'):
            for variant, config in configs.items():
                rounds[variant].append(run_round(config, Path(folder), args))
                gc.collect()
    results = summarise(rounds)
    step = results[args.variants[0]]['step']
    if args.out:
        save_json(results, args.out)
    print(f"seconds of the first variant's step: {step:.3f}\n\n{to_table(results)}")


if __name__ == '__main__':
    main()
