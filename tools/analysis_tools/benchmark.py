#!/usr/bin/env python
"""Speed, memory, size and accuracy of models side by side, on the same pictures, in one run:

    python tools/analysis_tools/benchmark.py CONFIG[:CKPT] ... --out DIR \\
        [--images DIR] [--gt DIR] [--variants mask reference ...] [--device DEVICE] [--repeats N]
        [--cold]

Every model takes every picture in turn, `--repeats` times, so that whatever else the machine does
meets all of them; medians over pictures and repeats are shown, with the quartiles of their sum. The
first picture is predicted once before the clock starts. Without CKPT, weights are as the config
initialises them (with --cold, from no file: time and memory are the same); without --images,
photographs of scikit-image are taken.

Variants of a diffusion model, of which a stock segmentor has those that only concern precision and
memory format:

    mask           the mask alone
    edge           mask and edge
    reference      what the released implementation computes: float32 (on NVIDIA GPUs TF32, torch's
                   default), both halves and both maps in each of the passes of the config's
                   `tta_pipeline`, the image encoded in each, and nothing remembered from picture to
                   picture
    tf32           float32 by TF32 on NVIDIA GPUs, the same as mask elsewhere
    float16, bfloat16
                   half precision where masks hardly change by it; float16_encoder: everywhere
    channels_last  feature maps with their channels innermost
    compile        torch.compile; cuda_graphs: the same with CUDA graphs
    fast           float16_encoder, channels_last and compile

"differs" is how far a variant's masks are from those of the model's first variant: the difference,
in 255ths, that 99.9 % of the pixels keep within.

DIR receives benchmark.md, benchmark.csv, benchmark.png and the masks.
"""

import argparse
import csv
import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import mmdiffdis  # isort: skip - first, for it reports a missing or unsuitable MMEngine

import matplotlib
import numpy as np
import skimage
import torch
from mmdiffdis.models.diffdis.condition import Remembering
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmseg.registry import MODELS
from PIL import Image

from mmdiffdis.apis import DISInferencer, DISResult, find_pictures
from mmdiffdis.apis.configs import find_config, with_test_options, without_loading
from mmdiffdis.apis.flops import build_on_meta, count_cost
from mmdiffdis.apis.inference import choose_device
from mmdiffdis.cli import BUILD_ERRORS, RUN_ERRORS, one_line_errors
from mmdiffdis.datasets.pairing import image_files
from mmdiffdis.evaluation import PAPER_MEASURES, PROTOCOLS, apply_protocol, measure_image, summarise
from mmdiffdis.evaluation.protocol import TRUTH_THRESHOLD
from mmdiffdis.images.panels import to_grey
from mmdiffdis.images.reading import read_image, read_size
from mmdiffdis.images.values import to_alpha
from mmdiffdis.models import DiffusionSegmentor
from mmdiffdis.utils.files import stem_of
from mmdiffdis.utils.tables import markdown

matplotlib.use('Agg')

# Options of DISInferencer.
VARIANTS: dict[str, dict] = {
    'mask': {},
    'edge': dict(edge=True),
    'reference': dict(edge=True, tf32=True),
    'tf32': dict(tf32=True),
    'float16': dict(precision='float16'),
    'float16_encoder': dict(precision='float16', encoder_precision='float16'),
    'bfloat16': dict(precision='bfloat16'),
    'channels_last': dict(channels_last=True),
    'compile': dict(compile='default'),
    'cuda_graphs': dict(compile='reduce-overhead'),
    'fast': dict(
        precision='float16', encoder_precision='float16', channels_last=True, compile='default'
    ),
}
DIFFUSION_VARIANTS = ('edge', 'reference', 'float16_encoder')
# Stage -> the method that does it.
DIFFUSION_STAGES = {
    'encode': 'encode_image',
    'network': 'denoise',
    'decode': 'decode_head.predict',
    'resize': 'postprocess_result',
}
STOCK_STAGES = {'network': 'encode_decode', 'resize': 'postprocess_result'}
STAGES = ('read', 'encode', 'network', 'decode', 'resize', 'save', 'other')
PROTOCOL = 'soft'
# Differences of masks are counted in steps of a tenth of a grey level.
_STEPS_PER_LEVEL = 10


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', nargs='+', metavar='CONFIG[:CKPT]')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--images', metavar='DIR', help='pictures')
    parser.add_argument(
        '--gt', type=Path, metavar='DIR', help='their true masks, of the same stems'
    )
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=['mask'])
    parser.add_argument('--device', help="e.g. 'cuda:0' or 'cpu' (default: a GPU if there is one)")
    parser.add_argument('--repeats', type=int, default=3, metavar='N')
    parser.add_argument('--cold', action='store_true', help='without CKPT: start from no file')
    return parser.parse_args(argv)


class Stopwatch:
    """Seconds of each stage of one picture; waits for the device at every reading."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = defaultdict(float)

    def now(self) -> float:
        """Seconds on a clock that only goes forward, all work given to the device being done."""
        if self._device.type in ('cuda', 'mps'):
            getattr(torch, self._device.type).synchronize()
        return time.perf_counter()

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Adds the time of the block to a stage."""
        start = self.now()
        yield
        self.seconds[stage] += self.now() - start

    def timed(self, function: Callable, stage: str) -> Callable:
        """A function whose time goes to a stage."""

        def call(*args, **kwargs):
            with self.time(stage):
                return function(*args, **kwargs)

        return call


@dataclass
class Contestant:
    """A model in one of its variants, and what was measured of it.

    Attributes:
        name: config and variant.
        model: CONFIG or CONFIG:CKPT.
        inferencer: what predicts.
        watch: takes the time of its stages.
        parameters: how many.
        tflop: of one picture.
        seconds: per picture and repeat, the seconds of each stage.
        peak_bytes: the most that predicting took, weights included; None where it is not known.
        figures: per picture, what `measure_image` gives.
        differences: of how many pixels the mask differs from that of the model's first variant by
            0, 1, 2, ... tenths of a 255th.
    """

    name: str
    model: str
    inferencer: DISInferencer
    watch: Stopwatch
    parameters: int = 0
    tflop: float = 0.0
    seconds: list[dict[str, float]] = field(default_factory=list)
    peak_bytes: int | None = None
    figures: list[dict] = field(default_factory=list)
    differences: np.ndarray = field(
        default_factory=lambda: np.zeros(255 * _STEPS_PER_LEVEL + 1, np.int64)
    )

    def predict(self, picture: Path, out: Path) -> DISResult:
        """Predicts and saves one picture; its times stand in `watch`."""
        self.watch.seconds.clear()
        start = self.watch.now()
        with self.watch.time('read'):
            prepared = self.inferencer.prepare(picture)
        result = self.inferencer.predict([prepared])[0]
        with self.watch.time('save'):
            Image.fromarray(to_grey(result.mask)).save(out / f'{result.stem}.png')
        known = sum(self.watch.seconds.values())
        self.watch.seconds['other'] = self.watch.now() - start - known
        return result

    def compare(self, mask: np.ndarray, first: np.ndarray) -> None:
        """Notes how far a mask is from that of the model's first variant."""
        steps = np.ceil(np.abs(mask - first) * (255 * _STEPS_PER_LEVEL)).astype(np.int64)
        self.differences += np.bincount(steps.ravel(), minlength=self.differences.size)

    def levels_apart(self, share: float = 0.999) -> float:
        """The difference in 255ths, rounded up to a tenth, that this share of pixels keeps."""
        kept = np.cumsum(self.differences) >= share * self.differences.sum()
        return int(kept.argmax()) / _STEPS_PER_LEVEL

    def median_ms(self, stage: str) -> float:
        """Median over pictures and repeats, in milliseconds."""
        return 1000 * float(np.median([times.get(stage, 0) for times in self.seconds]))

    def total_ms(self) -> np.ndarray:
        """First quartile, median and third quartile of the sum of all stages."""
        totals = [sum(times.values()) for times in self.seconds]
        return 1000 * np.percentile(totals, (25, 50, 75))


def without_files(settings: dict) -> dict:
    """The same settings of a model, but that it is not initialised from a file."""
    return {
        key: None
        if key in ('init_cfg', 'pretrained')
        else without_files(value)
        if isinstance(value, dict)
        else value
        for key, value in settings.items()
    }


def load(model: str, variant: str, device: torch.device, cold: bool = False) -> Contestant | None:
    """The contestant; None if the model has no such variant.

    Args:
        model: CONFIG or CONFIG:CKPT.
        variant: a key of `VARIANTS`.
        device: where it computes.
        cold: without CKPT, whether it is left as it is constructed.

    Raises:
        ValueError: The reference is asked for, and the config has no `tta_pipeline`.
    """
    config_name, _, checkpoint = model.partition(':')
    cfg = Config.fromfile(find_config(config_name))
    is_diffusion = issubclass(MODELS.get(cfg.model.type), DiffusionSegmentor)
    if cold and not checkpoint:
        cfg.model = ConfigDict(without_files(cfg.model))
    options = VARIANTS[variant]
    if not is_diffusion:
        if variant in DIFFUSION_VARIANTS:
            return None
        options = {name: value for name, value in options.items() if name != 'encoder_precision'}
    torch.manual_seed(0)  # what no file fills is the same in all variants of a model
    inferencer = DISInferencer(cfg, checkpoint or None, device, **options)
    watch = Stopwatch(device)
    for stage, name in (DIFFUSION_STAGES if is_diffusion else STOCK_STAGES).items():
        *path, method = name.split('.')
        owner = inferencer.model.get_submodule('.'.join(path))
        setattr(owner, method, watch.timed(getattr(owner, method), stage))
    if variant == 'reference':
        make_reference(inferencer, cfg)
    return Contestant(f'{Path(config_name).stem}, {variant}', model, inferencer, watch)


def make_reference(inferencer: DISInferencer, cfg: Config) -> None:
    """Lets an inferencer take all passes of the config's test-time augmentation."""
    if cfg.get('tta_pipeline') is None:
        raise ValueError(f'{cfg.filename} has no `tta_pipeline`, which the reference consists of.')
    steps = without_loading(cfg.tta_pipeline)
    for step in steps:
        if step['type'] == 'TestTimeAug':
            groups = map(without_loading, step['transforms'])
            step['transforms'] = [group for group in groups if group]
    inferencer.pipeline = Compose(steps)
    for module in inferencer.model.modules():
        if isinstance(module, Remembering):
            module.remembers = False
    inferencer.model = MODELS.build(dict(cfg.tta_model, module=inferencer.model)).eval()


def count(contestant: Contestant, variant: str, picture: Path) -> None:
    """Notes parameters and TFLOP of one picture, all passes together."""
    cfg = Config.fromfile(find_config(contestant.model.partition(':')[0]))
    edge = VARIANTS[variant].get('edge', False)
    on_meta = build_on_meta(with_test_options(cfg.model, edge))
    inputs = contestant.inferencer.prepare(picture).packed['inputs']
    passes = inputs if isinstance(inputs, list) else [inputs]
    costs = [count_cost(on_meta, tuple(one.shape[-2:])) for one in passes]
    contestant.parameters = costs[0].total_parameters
    contestant.tflop = sum(cost.total_flop for cost in costs) / 1e12


@contextmanager
def peak_memory(contestant: Contestant) -> Iterator[None]:
    """Notes the most memory that the block takes beyond what is held, plus the model's weights.

    On a CPU of Linux; None on other systems.
    """
    cuda = contestant.inferencer.device.type == 'cuda'
    refs, status = Path('/proc/self/clear_refs'), Path('/proc/self/status')
    if not cuda and not os.access(refs, os.W_OK):
        yield
        return
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    else:
        refs.write_text('5')  # VmHWM starts again at VmRSS (proc(5))
        held = _kibibytes(status, 'VmRSS') * 1024
    yield
    peak = torch.cuda.max_memory_allocated() if cuda else _kibibytes(status, 'VmHWM') * 1024
    tensors = contestant.inferencer.model.state_dict().values()
    weights = sum(tensor.nbytes for tensor in tensors)
    contestant.peak_bytes = max(contestant.peak_bytes or 0, peak - held + weights)


def _kibibytes(status: Path, key: str) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def bundled_pictures(folder: Path) -> list[Path]:
    """Photographs of scikit-image, saved to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ('astronaut', 'chelsea', 'coffee'):
        paths.append(folder / f'{name}.png')
        Image.fromarray(getattr(skimage.data, name)()).save(paths[-1])
    return paths


def find_truth(picture: Path, folder: Path) -> np.ndarray:
    """bool [H, W]: the true mask of a picture.

    Raises:
        FileNotFoundError: There is none.
    """
    found = dict(image_files(folder)).get(stem_of(picture))
    if found is None:
        raise FileNotFoundError(f"'{folder}' has no mask of the stem '{picture.stem}'.")
    return to_alpha(read_image(str(found))) > TRUTH_THRESHOLD


def report(contestants: list[Contestant]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    measures = [name for name in PAPER_MEASURES if contestants[0].figures]
    header = ['model', 'variant', *(f'{stage} ms' for stage in STAGES), 'total ms', 'quartiles']
    header += ['images/s', 'differs', 'peak GiB', 'parameters M', 'TFLOP', *measures]
    rows = []
    for one in contestants:
        low, middle, high = one.total_ms()
        peak = '' if one.peak_bytes is None else f'{one.peak_bytes / 2**30:.2f}'
        row = [*one.name.rsplit(', ', 1), *(f'{one.median_ms(stage):.1f}' for stage in STAGES)]
        row += [f'{middle:.1f}', f'{low:.1f}-{high:.1f}', f'{1000 / middle:.2f}']
        row += [f'{one.levels_apart():.1f}', peak]
        row += [f'{one.parameters / 1e6:.2f}', f'{one.tflop:.4g}']
        if measures:
            scores = summarise(one.figures, PAPER_MEASURES)
            row += [f'{scores[name]:.3f}' for name in measures]
        rows.append(row)
    return header, rows


def plot(contestants: list[Contestant], path: Path) -> None:
    """One bar a contestant, of its stages' medians."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.6 * len(contestants)), layout='constrained')
    names = [one.name.replace(', ', '\n') for one in contestants]
    left = np.zeros(len(contestants))
    for stage in STAGES:
        widths = np.array([one.median_ms(stage) for one in contestants])
        axes.barh(names, widths, left=left, label=stage)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel('ms per picture, medians')
    figure.legend(ncols=len(STAGES), fontsize='small', loc='outside upper center')
    figure.savefig(path, dpi=120)
    plt.close(figure)


def describe(device: torch.device, num_pictures: int, repeats: int, scored: bool) -> str:
    """What the figures depend on."""
    if device.type == 'cuda':
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    packages = [f'{name} {version(name)}' for name in ('diffusers', 'mmsegmentation')]
    versions = [
        f'mmdiffdis {mmdiffdis.__version__}',
        f'torch {torch.__version__}',  # which build, as well
        *packages,
        f'Python {platform.python_version()}',
    ]
    return (
        f'{device} ({machine}); {", ".join(versions)}. {num_pictures} pictures, {repeats} repeats, '
        'one picture at a time, models in turn; medians, quartiles of the total.'
        + (f' Scores: protocol "{PROTOCOL}".' if scored else '')
    )


def main(argv: list[str] | None = None) -> None:
    """Measures, and writes the report."""
    args = parse_args(argv)
    with one_line_errors((*BUILD_ERRORS, *RUN_ERRORS)):
        if args.repeats < 1:
            raise ValueError(f'--repeats {args.repeats}: expected at least 1.')
        if args.gt is not None and args.images is None:
            raise ValueError('--gt takes --images, whose true masks it has.')
        device = choose_device(args.device)
        pictures = (
            find_pictures([args.images]) if args.images else bundled_pictures(args.out / 'images')
        )
        for picture in pictures:
            read_size(picture)  # raises now what would otherwise be raised in the middle
        truths = {picture: find_truth(picture, args.gt) for picture in pictures if args.gt}
        contestants: dict[Path, Contestant] = {}
        for model in args.model:
            for variant in args.variants:
                contestant = load(model, variant, device, args.cold)
                if contestant is not None:
                    count(contestant, variant, pictures[0])
                    masks = args.out / 'masks' / f'{len(contestants)}_{variant}'
                    masks.mkdir(parents=True, exist_ok=True)
                    contestants[masks] = contestant
        if not contestants:
            raise ValueError(f'no model has any of the variants {args.variants}.')

    for masks, contestant in contestants.items():
        with peak_memory(contestant):  # and warms up: caches, compilation, CUDA's own start
            contestant.predict(pictures[0], masks)
    for repeat in range(args.repeats):
        for picture in pictures:
            firsts: dict[str, np.ndarray] = {}
            for masks, contestant in contestants.items():
                with peak_memory(contestant):
                    result = contestant.predict(picture, masks)
                contestant.seconds.append(dict(contestant.watch.seconds))
                if repeat:
                    continue
                contestant.compare(result.mask, firsts.setdefault(contestant.model, result.mask))
                if args.gt:
                    prediction = apply_protocol(result.mask, **PROTOCOLS[PROTOCOL])
                    contestant.figures.append(
                        measure_image(prediction, truths[picture], PAPER_MEASURES)
                    )

    header, rows = report(list(contestants.values()))
    text = describe(device, len(pictures), args.repeats, bool(args.gt))
    table = f'{text}\n\n{markdown(header, rows)}\n'
    (args.out / 'benchmark.md').write_text(table, encoding='utf-8')
    with open(args.out / 'benchmark.csv', 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([header, *rows])
    plot(list(contestants.values()), args.out / 'benchmark.png')
    print(table)


if __name__ == '__main__':
    main()
