"""Speed, memory and accuracy of models and of their variants."""

import copy
import multiprocessing
import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmseg.registry import MODELS
from PIL import Image
from torch import nn

from ..datasets.pairing import image_files, match_stems
from ..evaluation import PAPER_MEASURES, PROTOCOLS, apply_protocol, measure_image, summarise
from ..evaluation.protocol import TRUTH_THRESHOLD
from ..images.panels import to_grey
from ..images.reading import read_image
from ..images.values import to_alpha
from ..models.tta import describe_tta, tta_record
from ..utils.files import stem_of
from ..utils.shipped import shipped_models
from ..utils.stopwatch import Stopwatch
from ..version import __version__
from .configs import (
    load_config,
    predicts_edges,
    with_test_options,
    without_files,
    without_loading,
)
from .cuda_graphs import graph_methods
from .exporting import export_onnx
from .flops import build_on_meta, count_cost, parts_of
from .inference import DISInferencer
from .results import DISResult

# Options of `DISInferencer`.
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
    'fast': dict(precision='float16', encoder_precision='float16', channels_last=True),
    'cuda_graphs': dict(
        precision='float16', encoder_precision='float16', channels_last=True, cuda_graphs=True
    ),
    'taesd_decoder': {},
    'taesd': {},
    'onnx': {},
}
# Changes of a model whose latents are Stable Diffusion's; they change its masks.
_TAESD = dict(type='TinyAutoencoder', init_cfg=dict(type='TAESDInit'))
_MODEL_CHANGES = {
    'taesd_decoder': dict(decode_head=dict(vae=_TAESD)),
    'taesd': dict(vae=dict(_delete_=True, **_TAESD)),
}
STAGES = ('read', 'encode', 'network', 'decode', 'resize', 'save', 'other')
PROTOCOL = 'soft'
# Differences of masks are counted in tenths of a grey level.
_STEPS_PER_LEVEL = 10


@dataclass
class Candidate:
    """A model in one of its variants, with its measurements.

    Attributes:
        name: Config and variant.
        model: CONFIG or CONFIG:CKPT.
        inferencer: Predicts.
        watch: Measures the stages of an image.
        parameters: Number of parameters.
        tflop: Operations for one image.
        seconds: Seconds of each stage, for each image and repeat.
        peak_bytes: Peak memory of predicting, including weights; None where it is not known.
        scores: Results of `measure_image`, for each image.
        differences: Number of pixels whose mask differs from that of the model's first variant by
            0, 1, 2, ... tenths of a grey level.
    """

    name: str
    model: str
    inferencer: DISInferencer
    watch: Stopwatch
    parameters: int = 0
    tflop: float = 0.0
    seconds: list[dict[str, float]] = field(default_factory=list)
    peak_bytes: int | None = None
    scores: list[dict] = field(default_factory=list)
    differences: np.ndarray = field(
        default_factory=lambda: np.zeros(255 * _STEPS_PER_LEVEL + 1, np.int64)
    )
    _network_end: float = 0.0

    def time_stages(self) -> None:
        """Measures the parts of the model as stages: 'encode', 'decode', all others 'network'."""
        model = self.inferencer.model
        if self.inferencer.cuda_graphs:  # what is inside of a graph cannot be measured
            for module, method in graph_methods(model):
                self._time(module, method, 'encode' if method == 'encode_image' else 'network')
            return
        for part, modules in parts_of(model).items():
            stage = part.split()[0]
            for module in _with_forward(modules):
                # not a hook: mmseg calls the `forward` of its decode heads, which runs none
                self._time(module, 'forward', stage if stage in STAGES else 'network')

    def _time(self, module: nn.Module, method: str, stage: str) -> None:
        forward = getattr(module, method)
        now = torch.compiler.disable(self.watch.now)

        @torch.compiler.disable(recursive=False)  # a compiled block consists of its `forward` alone
        def timed(*args, **kwargs):
            start = now()
            result = forward(*args, **kwargs)
            self._network_end = now()
            self.watch.seconds[stage].append(self._network_end - start)
            return result

        setattr(module, method, timed)

    def predict(self, image: Path, out: Path) -> tuple[DISResult, dict[str, float]]:
        """Predicts and saves an image; returns its result and the seconds of its stages."""
        self.watch.seconds.clear()
        start = self.watch.now()
        with self.watch.time('read'):
            prepared = self.inferencer.prepare(image)
        result = self.inferencer.predict([prepared])[0]
        resize = self.watch.now() - self._network_end
        with self.watch.time('save'):
            Image.fromarray(to_grey(result.mask)).save(out / f'{result.stem}.png')
        total = self.watch.now() - start
        seconds = {stage: sum(times) for stage, times in self.watch.seconds.items()}
        seconds['resize'] = resize
        return result, {**seconds, 'other': total - sum(seconds.values())}

    def compare(self, mask: np.ndarray, first: np.ndarray) -> None:
        """Counts how far a mask is from that of the model's first variant."""
        steps = np.ceil(np.abs(mask - first) * (255 * _STEPS_PER_LEVEL)).astype(np.int64)
        self.differences += np.bincount(steps.ravel(), minlength=self.differences.size)

    def score(self, mask: np.ndarray, gt: np.ndarray) -> None:
        """Scores a mask, float32 [H, W] in [0, 1], against its ground truth, bool [H, W]."""
        prediction = apply_protocol(mask, **PROTOCOLS[PROTOCOL])
        self.scores.append(measure_image(prediction, gt, PAPER_MEASURES))

    def levels_apart(self, share: float = 0.999) -> float:
        """Returns the difference in grey levels that a share of pixels keeps within, rounded up."""
        is_enough = np.cumsum(self.differences) >= share * self.differences.sum()
        return int(is_enough.argmax()) / _STEPS_PER_LEVEL

    def median_ms(self, stage: str) -> float:
        """Returns a stage's median over images and repeats, in milliseconds."""
        return 1000 * float(np.median([seconds.get(stage, 0) for seconds in self.seconds]))

    def total_ms(self) -> np.ndarray:
        """Returns first quartile, median and third quartile of the sum of all stages."""
        totals = [sum(seconds.values()) for seconds in self.seconds]
        return 1000 * np.percentile(totals, (25, 50, 75))

    @contextmanager
    def measure_memory(self) -> Iterator[None]:
        """Records the peak memory of the block beyond what is in use, plus the model's weights.

        What other models left in the process, free or cached, hides a part of it: see
        `measure_memory_alone`. On CPUs it is known under Linux only.
        """
        cuda = self.inferencer.device.type == 'cuda'
        refs, status = Path('/proc/self/clear_refs'), Path('/proc/self/status')
        if not cuda and not os.access(refs, os.W_OK):
            yield
            return
        if cuda:
            torch.cuda.reset_peak_memory_stats()
            in_use = torch.cuda.memory_allocated()
        else:
            refs.write_text('5')  # VmHWM starts again at VmRSS (proc(5))
            in_use = _kibibytes(status, 'VmRSS') * 1024
        yield
        peak = torch.cuda.max_memory_allocated() if cuda else _kibibytes(status, 'VmHWM') * 1024
        weights = sum(tensor.nbytes for tensor in self.inferencer.model.state_dict().values())
        self.peak_bytes = max(self.peak_bytes or 0, peak - in_use + weights)


def _with_forward(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yields modules; in place of a container without `forward`, its children."""
    for module in modules:
        if type(module).forward is nn.Module.forward:
            yield from _with_forward(module.children())
        else:
            yield module


def _kibibytes(status: Path, key: str) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(key))
    return int(line.split()[1])


def split_model(model: str) -> tuple[str, str]:
    r"""Returns the parts of CONFIG:CKPT; the second is empty without a checkpoint.

    The name of a model that comes with the package stands for both.

    >>> split_model('a.py:mmdiffdis://x'), split_model(r'C:\a.py:D:\b.pth')
    (('a.py', 'mmdiffdis://x'), ('C:\\a.py', 'D:\\b.pth'))
    >>> split_model('u2netp'), split_model('a.py')
    (('u2netp', 'u2netp'), ('a.py', ''))
    """
    if model in shipped_models():
        return model, model
    drive = model[:2] if re.match(r'[A-Za-z]:[\\/]', model) else ''
    name, _, checkpoint = model.removeprefix(drive).partition(':')
    return drive + name, checkpoint


def load_candidate(
    model: str, variant: str, device: torch.device, image: Path, cold: bool = False
) -> Candidate | None:
    """Returns a model in a variant, its cost counted; None if the model has no such variant.

    Args:
        model: CONFIG or CONFIG:CKPT.
        variant: A key of `VARIANTS`.
        device: Device of the prediction.
        image: An image, for the size of the network's input.
        cold: Without CKPT, keep the random weights of the constructor.

    Raises:
        ValueError: If the reference is asked for, and the config has no `tta_pipeline`.
    """
    setup = _set_up(model, variant)
    if setup is None:
        return None
    name, checkpoint, config, options = setup
    if cold and not checkpoint:
        config.model = ConfigDict(without_files(config.model))
    torch.manual_seed(0)  # random weights are the same in all variants of a model
    if variant == 'onnx':
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, 'model.onnx')
            export_onnx(config, checkpoint or None, file)
            inferencer = DISInferencer(file, None, device)
    else:
        inferencer = DISInferencer(config, checkpoint or None, device, **options)
    candidate = Candidate(f'{Path(name).stem}, {variant}', model, inferencer, Stopwatch(device))
    candidate.time_stages()
    if variant == 'reference':
        use_tta(inferencer, config)
        passes = describe_tta(tta_record(config.tta_model, config.tta_pipeline))
        candidate.name += f' ({passes})'.replace(', ', '; ')  # a comma ends the model's name
    inputs = inferencer.prepare(image).packed['inputs']
    passes = inputs if isinstance(inputs, list) else [inputs]
    on_meta = build_on_meta(with_test_options(config.model, options.get('edge', False)))
    costs = [count_cost(on_meta, tuple(x.shape[-2:])) for x in passes]
    candidate.parameters = costs[0].total_parameters
    candidate.tflop = sum(cost.total_flop for cost in costs) / 1e12
    return candidate


def has_variant(model: str, variant: str) -> bool:
    """Returns whether a model has a variant, without building it.

    Args:
        model: CONFIG or CONFIG:CKPT.
        variant: A key of `VARIANTS`.
    """
    return _set_up(model, variant) is not None


def _set_up(model: str, variant: str) -> tuple[str, str, Config, dict] | None:
    """Returns config name, checkpoint ('' if there is none), config and options of a variant."""
    name, checkpoint = split_model(model)
    config = load_config(name, needs=['model'])
    options = dict(VARIANTS[variant])
    if options.get('edge') and not predicts_edges(config.model):
        return None
    if variant in _MODEL_CHANGES:
        if not _has_latents_of_stable_diffusion(config.model):
            return None
        # a copy, because merging removes `_delete_`
        config.merge_from_dict(dict(model=copy.deepcopy(_MODEL_CHANGES[variant])))
    if not hasattr(MODELS.get(config.model.type), 'set_precision'):
        if variant == 'float16_encoder':
            return None
        options.pop('encoder_precision', None)
    return name, checkpoint, config, options


def measure_memory_alone(
    model: str, variant: str, device: torch.device, image: Path, cold: bool = False
) -> int | None:
    """Returns the peak memory of predicting an image in a process of its own, in bytes.

    It includes the weights and is None where it is not known: for the variant 'onnx', whose weights
    onnxruntime holds. The arguments are those of
    `load_candidate`, whose errors are raised.

    Raises:
        OSError: If the process was killed.
    """
    if variant == 'onnx':
        return None
    variable, before = 'MALLOC_MMAP_THRESHOLD_', os.environ.get('MALLOC_MMAP_THRESHOLD_')
    os.environ[variable] = '65536'  # glibc returns larger blocks when they are freed
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
            threads = torch.get_num_threads()
            return pool.submit(_peak_bytes, model, variant, device, image, cold, threads).result()
    except BrokenProcessPool as error:
        raise OSError(
            f'{model}, {variant}: the process that measures its memory was killed, probably for '
            'lack of memory'
        ) from error
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before


def _peak_bytes(
    model: str, variant: str, device: torch.device, image: Path, cold: bool, threads: int
) -> int | None:
    torch.set_num_threads(threads)
    candidate = load_candidate(model, variant, device, image, cold)
    with tempfile.TemporaryDirectory() as out, candidate.measure_memory():
        candidate.predict(image, Path(out))
    return candidate.peak_bytes


def _has_latents_of_stable_diffusion(model_config: ConfigDict) -> bool:
    if model_config.type != 'DiffusionSegmentor' or model_config.vae.type != 'LatentAutoencoder':
        return False
    vae = model_config.vae
    return vae.latent_channels == 4 and vae.get('scaling_factor', 0.18215) == 0.18215


def use_tta(inferencer: DISInferencer, config: Config) -> None:
    """Makes an inferencer run all passes of the config's test-time augmentation."""
    if config.get('tta_pipeline') is None:
        raise ValueError(f'{config.filename} has no tta_pipeline, which the reference consists of')
    steps = without_loading(config.tta_pipeline)
    for step in steps:
        if step['type'] == 'TestTimeAug':
            groups = map(without_loading, step['transforms'])
            step['transforms'] = [group for group in groups if group]
    inferencer.pipeline = Compose(steps)
    inferencer.model = MODELS.build(dict(config.tta_model, module=inferencer.model)).eval()


def table(candidates: list[Candidate]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows, with scores if there are any."""
    metrics = PAPER_MEASURES if candidates[0].scores else ()
    header = ['model', 'variant', *(f'{stage} ms' for stage in STAGES), 'total ms', 'quartiles']
    header += ['images/s', 'differs', 'peak GiB', 'parameters M', 'TFLOP', *metrics]
    rows = []
    for candidate in candidates:
        low, median, high = candidate.total_ms()
        peak = candidate.peak_bytes
        row = candidate.name.rsplit(', ', 1)
        row += [f'{candidate.median_ms(stage):.1f}' for stage in STAGES]
        row += [f'{median:.1f}', f'{low:.1f}-{high:.1f}', f'{1000 / median:.2f}']
        row += [f'{candidate.levels_apart():.1f}', '' if peak is None else f'{peak / 2**30:.2f}']
        row += [f'{candidate.parameters / 1e6:.2f}', f'{candidate.tflop:.4g}']
        if metrics:
            scores = summarise(candidate.scores, PAPER_MEASURES)
            row += [f'{scores[name]:.3f}' for name in metrics]
        rows.append(row)
    return header, rows


def save_bundled_images(folder: Path) -> list[Path]:
    """Saves photographs of scikit-image to a folder; returns their paths."""
    import skimage

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ('astronaut', 'chelsea', 'coffee'):
        paths.append(folder / f'{name}.png')
        Image.fromarray(getattr(skimage.data, name)()).save(paths[-1])
    return paths


def read_gt(image: Path, folder: Path) -> np.ndarray:
    """Returns the ground-truth mask of an image, bool [H, W].

    Raises:
        FileNotFoundError: If there is none.
    """
    masks = dict(image_files(folder))
    path = masks.get(match_stems([stem_of(image)], masks).get(stem_of(image)))
    if path is None:
        raise FileNotFoundError(f"'{folder}' has no mask of the stem '{image.stem}'")
    return to_alpha(read_image(str(path))) > TRUTH_THRESHOLD


def plot(candidates: list[Candidate], path: Path) -> None:
    """Draws one bar per candidate, divided into the medians of its stages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 + 0.6 * len(candidates)), layout='constrained')
    axes = figure.subplots()
    names = [candidate.name.replace(', ', '\n') for candidate in candidates]
    left = np.zeros(len(candidates))
    for stage in STAGES:
        widths = np.array([candidate.median_ms(stage) for candidate in candidates])
        axes.barh(names, widths, left=left, label=stage)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel('ms per image, medians')
    figure.legend(ncols=len(STAGES), fontsize='small', loc='outside upper center')
    figure.savefig(path, dpi=120)


def describe(device: torch.device, num_images: int, repeats: int, scored: bool) -> str:
    """Returns what the measurements depend on, in words."""
    if device.type == 'cuda':
        machine = torch.cuda.get_device_name(device)
    else:
        machine = f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads'
    versions = [
        f'mmdiffdis {__version__}',
        f'torch {torch.__version__}',  # including the build
        *(f'{name} {version(name)}' for name in ('diffusers', 'mmsegmentation')),
        f'Python {platform.python_version()}',
    ]
    return (
        f'{device} ({machine}); {", ".join(versions)}. {num_images} images, {repeats} repeats, '
        'one image at a time, models in turn; medians, quartiles of the total.'
        + (f' Scores: protocol "{PROTOCOL}".' if scored else '')
    )
