#!/usr/bin/env python
"""Time and memory of a training step, part by part, for several variants of one config.

    python tools/benchmarks/training.py CONFIG [--variants reference bfloat16+frugal_vae ...]
        [--batch-size 4] [--side 1024] [--device cuda] [--steps 5] [--rounds 3] [--out FILE.json]

A variant is what `tools/train.py --with` merges, joined by '+'; 'reference' is the config as it is:
float32, no checkpointing, the released script's step. The parts are

    loader     one batch by the config's pipeline, from drawn PNG pictures of twice the side
    encode     the VAE: images at four scales, masks, edges
    forward    noise, U-Net, losses
    backward   gradients
    optimizer  the update

Variants take turns, `--rounds` times, in one process with one thread on a CPU; a round's first step
is not counted, and the fastest step counts. On a CPU it is the process's own time, on a GPU the
clock's, both sides synchronised; the peak of memory is PyTorch's on a GPU, unknown on a CPU.
Weights are random, so nothing is downloaded.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import cv2
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from tqdm import tqdm

from mmdiffdis.apis.configs import load_config
from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
from mmdiffdis.synthetic import draw_sample
from mmdiffdis.utils.tables import markdown

OPTIONS = Path(__file__).parents[2] / 'configs/_base_/options'
PARTS = ('loader', 'encode', 'forward', 'backward', 'optimizer')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file')
    parser.add_argument('--variants', nargs='+', default=['reference'], metavar='OPTION+OPTION')
    parser.add_argument('--batch-size', type=int, default=4, metavar='N')
    parser.add_argument('--side', type=int, metavar='PIXELS', help="default: the config's")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--steps', type=int, default=5, metavar='N', help='of a round')
    parser.add_argument('--rounds', type=int, default=3, metavar='N')
    parser.add_argument('--out', type=Path, metavar='FILE.json')
    return parser.parse_args(argv)


def load_variant(path: str, variant: str, side: int | None) -> Config:
    """The config of a variant, its training images at `side` pixels if that is given."""
    names = [] if variant == 'reference' else variant.split('+')
    config = load_config(path, fragments=[OPTIONS / f'{name}.py' for name in names])
    config.model.init_cfg = None
    for step in config.train_dataloader.dataset.pipeline:
        if step['type'] == 'DISResize' and side:
            step['scale'] = (side, side)
    return config


def write_pairs(root: Path, side: int, count: int) -> None:
    """Fills ``root/{im,gt}`` with drawn pictures."""
    for folder in ('im', 'gt'):
        (root / folder).mkdir()
    for index in range(count):
        sample = draw_sample(0, 'DIS-TR', index, side, side)
        cv2.imwrite(str(root / 'im' / f'{sample.stem}.png'), sample.image)
        cv2.imwrite(str(root / 'gt' / f'{sample.stem}.png'), sample.mask)


class Stopwatch:
    """Seconds of named parts: of this process on a CPU, of the clock on a GPU.

    Attributes:
        seconds: name -> one number per measurement.
    """

    def __init__(self, device: str):
        self.on_gpu = torch.device(device).type == 'cuda'
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Measures the block as `part`."""
        start = self._now()
        yield
        self.seconds.setdefault(part, []).append(self._now() - start)

    def _now(self) -> float:
        if not self.on_gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def run_round(config: Config, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """The fastest step: part -> seconds, and on a GPU 'peak_gib' of all steps."""
    torch.manual_seed(0)
    model = MODELS.build(config.model).to(args.device).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    dataset = dict(config.train_dataloader.dataset, data_root=str(folder), subset='', part=None)
    dataset = DATASETS.build(dataset)
    watch = Stopwatch(args.device)
    if watch.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(1 + args.steps):
        with watch('loader'):
            batch = pseudo_collate([dataset[i] for i in range(args.batch_size)])
        data = model.data_preprocessor(batch, training=True)
        with wrapper.optim_context(model):
            with watch('encode'):
                pairs = model.encode_pairs(**data)
            with watch('forward'):
                loss, _ = model.parse_losses(model.loss(pairs, data['data_samples']))
        with watch('backward'):
            wrapper.backward(wrapper.scale_loss(loss))
        with watch('optimizer'):
            wrapper.step()
            wrapper.zero_grad()
    steps = list(zip(*(watch.seconds[part][1:] for part in PARTS), strict=True))
    figures = dict(zip(PARTS, min(steps, key=lambda step: sum(step[1:])), strict=True))
    if watch.on_gpu:
        figures['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
    return figures


def summarise(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Variant -> the round whose step, without its loader, is the fastest, and 'step', its sum."""
    results = {}
    for variant, figures in rounds.items():
        sums = [sum(one[part] for part in PARTS[1:]) for one in figures]
        best = min(range(len(sums)), key=sums.__getitem__)
        results[variant] = figures[best] | {'step': sums[best]}
    return results


def to_table(results: dict[str, dict[str, float]]) -> str:
    """Markdown: shares of the first variant's step, how much faster, and the peak of memory."""
    first = next(iter(results.values()))
    rows = []
    for variant, figures in results.items():
        shares = [f'{figures[part] / first["step"]:.2f}' for part in (*PARTS, 'step')]
        peak = f'{figures["peak_gib"]:.1f}' if 'peak_gib' in figures else '-'
        rows.append([variant, *shares, f'{first["step"] / figures["step"]:.2f}', peak])
    return markdown(['variant', *PARTS, 'step', 'times faster', 'peak, GiB'], rows)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints."""
    args = parse_args(argv)
    cv2.setNumThreads(0)
    if torch.device(args.device).type == 'cpu':
        torch.set_num_threads(1)
    init_default_scope('mmseg')
    MMLogger.get_current_instance().setLevel('ERROR')  # a line per weight otherwise
    rounds: dict[str, list] = {variant: [] for variant in args.variants}
    with one_line_errors(BUILD_ERRORS), tempfile.TemporaryDirectory() as folder:
        configs = {v: load_variant(args.config, v, args.side) for v in args.variants}
        steps = configs[args.variants[0]].train_dataloader.dataset.pipeline
        side = next(step['scale'][0] for step in steps if step['type'] == 'DISResize')
        write_pairs(Path(folder), 2 * side, args.batch_size)
        for _ in tqdm(range(args.rounds), unit='round'):
            for variant, config in configs.items():
                rounds[variant].append(run_round(config, Path(folder), args))
                gc.collect()
    results = summarise(rounds)
    unit = "seconds of the first variant's step: "
    print(f'{unit}{results[args.variants[0]]["step"]:.3f}\n\n{to_table(results)}')
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
