"""Export of segmentors to ONNX files that say how to prepare an image."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.models import EncoderDecoder
from torch import Tensor, nn

from ..datasets.transforms import DISResize
from ..models.baselines.base import DISBaseline
from ..models.diffdis import DiffusionSegmentor
from ..models.onnx_segmentor import METADATA, RESIZE_RULES
from ..version import __version__
from .configs import load_config
from .inference import DISInferencer

OPSET = 18
# Differences of masks that 99.9 % of their pixels must keep within.
TOLERANCES = {'float32': 0.5 / 255, 'float16': 2 / 255}
_SHARE = 99.9  # percent
# Operators that a float16 file computes in float32, as autocast does.
_IN_FLOAT32 = (
    *('InstanceNormalization', 'LayerNormalization', 'GroupNormalization', 'BatchNormalization'),
    *('Softmax', 'ReduceMean', 'Exp', 'Pow', 'GridSample', 'Resize'),
)


@dataclass(frozen=True)
class Export:
    """A written file, compared with PyTorch.

    Attributes:
        metadata: What the file says beside the network.
        maximum: Largest difference of a mask's pixel, of [0, 1].
        within: Difference that 99.9 % of the pixels keep within.
    """

    metadata: dict
    maximum: float
    within: float


class _Diffusion(nn.Module):
    """DiffDIS as a function of images and of one noise for mask and edge."""

    def __init__(self, model: DiffusionSegmentor):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, noise: Tensor) -> Tensor:
        model = self.model
        latents = model.encode_image(image)
        noise = noise.repeat(len(model.targets), 1, 1, 1)
        (clean,) = model.denoise(noise, latents, model.test_timesteps, num_outputs=1)
        return model.decode_head.predict(clean, model.vae, image)


class _Baseline(nn.Module):
    """A baseline as a function of images."""

    def __init__(self, model: DISBaseline):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.encode_decode(image)


class _Stock(nn.Module):
    """A segmentor of mmseg as a function of images, with logits of the foreground as output."""

    def __init__(self, model: EncoderDecoder):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        logits = self.model.encode_decode(image, [dict(img_shape=tuple(image.shape[-2:]))])
        # The softmax of two logits is the sigmoid of their difference.
        return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]


def export_onnx(
    config: str | Path | Config | dict,
    checkpoint: str | Path | None,
    path: Path,
    precision: str = 'float32',
    dynamic_size: bool = False,
    size: Sequence[int] | None = None,
) -> Export:
    """Writes a model as an ONNX file, and compares the file's masks with the model's.

    The batch size is dynamic where the network allows it, and 1 elsewhere. Files above 2 GB have
    their weights beside them, in `<path>.data`.

    Args:
        config: As of `DISInferencer`.
        checkpoint: As of `DISInferencer`.
        path: The file.
        precision: 'float32', or 'float16', of inner tensors alone: inputs and outputs are float32.
        dynamic_size: Whether height and width are dynamic, too.
        size: (H, W) of the network's input; None: that of the config's test.

    Raises:
        ImportError: If a package of the extra `onnx` is not installed.
        ValueError: If the model cannot be exported, or the file's masks differ from the model's.
    """
    _check_packages()
    if precision not in TOLERANCES:
        raise ValueError(f'precision={precision!r}: expected one of {list(TOLERANCES)}')
    config = load_config(config)
    inferencer = DISInferencer(config, checkpoint, 'cpu')
    if size:
        inferencer.pipeline = _resize_to(inferencer.pipeline, size)
    size = _input_size(inferencer)
    network, described = _describe(inferencer.model)
    metadata = dict(
        model=Path(config.filename or 'config').stem,
        version=__version__,
        precision=precision,
        image=dict(
            size=size,
            dynamic_size=dynamic_size,
            resize=_resize_rule(inferencer.pipeline),
            **_normalisation(inferencer.model),
        ),
        **described,
    )
    images = _photographs()
    sizes = [size, _other_size(size)] if dynamic_size else [size]
    expected = _masks(inferencer, images, sizes)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder, path.name)
        _write(network, metadata, file)
        exported = DISInferencer(file, None, 'cpu')
        differences = np.abs(_masks(exported, images, sizes) - expected)
        export = Export(metadata, *(float(np.percentile(differences, q)) for q in (100, _SHARE)))
        if not export.within <= TOLERANCES[precision]:
            way_out = '; choose float32' if precision != 'float32' else ''
            raise ValueError(
                f'the masks of the exported file differ from those of PyTorch by '
                f'{255 * export.within:.1f}/255 on {_SHARE} % of pixels; expected '
                f'{255 * TOLERANCES[precision]}/255 at most for {precision}; nothing '
                f'was written{way_out}'
            )
        for part in sorted(Path(folder).iterdir(), reverse=True):  # the weights first
            shutil.move(part, path.with_name(part.name))
    return export


def _check_packages() -> None:
    missing = [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"export needs {', '.join(missing)}: `pip install 'mmdiffdis[onnx]'` installs all"
        )


def _describe(model: nn.Module) -> tuple[nn.Module, dict]:
    """Returns a model as a function of tensors, and the metadata of its noise and mask."""
    mask = dict(activation=None, stretch=None, align_corners=False, threshold=0.5)
    if isinstance(model, DiffusionSegmentor):
        noise = dict(
            channels=model.vae.latent_channels,
            stride=model.vae.size_divisor,
            seed=model.test_cfg['seed'],
        )
        mask['threshold'] = model.threshold
        mask['stretch'] = 'before resizing' if model.test_cfg['min_max'] else None
        return _Diffusion(model), dict(noise=noise, mask=mask)
    if isinstance(model, DISBaseline):
        mask['threshold'] = model.threshold
        mask['stretch'] = 'after resizing' if model.test_cfg['min_max'] else None
        return _Baseline(model), dict(noise=None, mask=mask)
    if isinstance(model, EncoderDecoder):
        mask['activation'] = 'sigmoid'
        mask['align_corners'] = model.align_corners
        mask['threshold'] = model.decode_head.threshold or 0.5  # None for two channels
        return _Stock(model), dict(noise=None, mask=mask)
    raise ValueError(
        f'{type(model).__name__} cannot be exported: expected a DiffusionSegmentor, a baseline or '
        "MMSegmentation's EncoderDecoder"
    )


def _input_size(inferencer: DISInferencer) -> list[int]:
    """Returns (H, W) of the network's input, which must not depend on the image."""
    shapes = [np.zeros((height, 2048 - height, 3), np.uint8) for height in (768, 1280)]
    sizes = [list(inferencer.prepare(image).packed['inputs'].shape[-2:]) for image in shapes]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"the config's test resizes images to sizes that depend on them, such as {sizes[0]} "
            f'and {sizes[1]}: expected one; choose it by --size HEIGHT WIDTH'
        )
    return sizes[0]


def _resize_to(pipeline: Compose, size: Sequence[int]) -> Compose:
    """Returns a pipeline that resizes images to (H, W) where the other resizes them."""
    return Compose(
        [
            DISResize(scale=(size[1], size[0]), backend=step.backend)
            if isinstance(step, Resize)
            else step
            for step in pipeline.transforms
        ]
    )


def _resize_rule(pipeline: Compose) -> str:
    """Returns the key of `RESIZE_RULES` of a pipeline."""
    uses_opencv = any(isinstance(s, Resize) and s.backend == 'cv2' for s in pipeline.transforms)
    pillow, opencv = RESIZE_RULES
    return opencv if uses_opencv else pillow  # 'torch' is Pillow's filter, rounded differently


def _normalisation(model: nn.Module) -> dict:
    """Returns what the preprocessor of a model does to values, found by images of known ones.

    Returns:
        `channels`: 'RGB' or 'BGR', in the order of the input; `divide_by_maximum`: whether values
        are multiplied so that the largest of each image is 255; `mean` and `std`, of values up
        to 255.
    """

    def prepare(*corner: int) -> Tensor:
        image = torch.zeros(3, 64, 64, dtype=torch.uint8)  # BGR
        image[:, 0, 0] = torch.tensor(corner)
        return model.data_preprocessor(dict(inputs=[image]), False)['inputs'][0].double()

    prepared = prepare(255, 255, 255)
    low, high = prepared[:, 1, 1], prepared[:, 0, 0]
    std = 255 / (high - low)
    return dict(
        channels='BGR' if prepare(255, 0, 0)[0, 0, 0] == high[0] else 'RGB',
        divide_by_maximum=bool((prepare(51, 51, 51)[:, 0, 0] == high).all()),
        mean=[round(value, 4) for value in (-low * std).tolist()],
        std=[round(value, 4) for value in std.tolist()],
    )


def _photographs() -> list[np.ndarray]:
    """Returns three images of different sizes: a batch of 2 and one of 1."""
    from skimage import data

    return [data.astronaut(), data.coffee(), data.chelsea()]


def _other_size(size: Sequence[int]) -> list[int]:
    return [size[0], 2 * size[1]]  # whatever multiple of pixels the network needs


def _masks(
    inferencer: DISInferencer, images: list[np.ndarray], sizes: list[Sequence[int]]
) -> np.ndarray:
    """Returns the pixels of all masks, at each size of the network's input."""
    pipeline, masks = inferencer.pipeline, []
    for size in sizes:
        inferencer.pipeline = _resize_to(pipeline, size)
        results = inferencer(images, batch_size=2, on_error=_raise)
        masks += [result.mask.ravel() for result in results]
    return np.concatenate(masks)


def _raise(name: str, error: Exception) -> None:
    raise error


@torch.no_grad()
def _write(network: nn.Module, metadata: dict, path: Path) -> None:
    """Exports a network by its description, and completes that."""
    import onnx

    image = metadata['image']
    half = metadata['precision'] == 'float16'
    casts = half and hasattr(network.model, 'set_precision')
    if casts:
        network.model.set_precision(torch.float16, torch.float32)
    network.eval().requires_grad_(False)
    for image['dynamic_batch'] in (True, False):  # Swin's windows, among others, fix the batch size
        try:
            program = _trace(network, metadata)
            break
        except Exception as error:  # of torch.export and of torch.onnx, which have no base class
            reason = error
    else:
        kind = 'with a dynamic size ' if image['dynamic_size'] else ''
        while reason.__cause__:  # whose texts repeat this one in pages
            reason = reason.__cause__
        raise ValueError(
            f'{type(network.model).__name__} cannot be exported {kind}by torch '
            f'{torch.__version__} (docs/deployment.md lists what can be): {reason}'
        ) from reason
    program.model.metadata_props[METADATA] = json.dumps(metadata)
    program.save(str(path))
    if half and not casts:
        _halve(path)
    onnx.checker.check_model(str(path))


def _trace(network: nn.Module, metadata: dict) -> 'torch.onnx.ONNXProgram':
    """Returns a network as an ONNX program of the inputs that the metadata describe."""
    image, noise = metadata['image'], metadata['noise']
    height, width = image['size']
    batch_size = 2 if image['dynamic_batch'] else 1  # torch.export takes 1 for a constant
    inputs = dict(image=torch.zeros(batch_size, 3, height, width))
    axes = dict(image=('height', 'width'))
    if noise:
        sides = [side // noise['stride'] for side in (height, width)]
        inputs['noise'] = torch.zeros(batch_size, noise['channels'], *sides)
        axes['noise'] = ('noise_height', 'noise_width')
    dynamic = {name: {0: 'batch'} if image['dynamic_batch'] else {} for name in inputs}
    if image['dynamic_size']:
        for name, (rows, columns) in axes.items():
            dynamic[name] |= {2: rows, 3: columns}
    any_size = {
        name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in dynamic.items()
    }
    # by ourselves: torch.onnx would try again in stricter ways, which take minutes to fail
    traced = torch.export.export(network, (), inputs, dynamic_shapes=any_size, strict=False)
    return torch.onnx.export(
        traced,
        input_names=[*inputs],
        output_names=['mask'],
        dynamic_shapes=dynamic,
        opset_version=OPSET,
        optimize=False,  # onnxscript's fails for DiffDIS; onnxruntime optimises for itself
        dynamo=True,
        verbose=False,
    )


def _halve(path: Path) -> None:
    """Rewrites a file with inner tensors in float16, except where float16 is too coarse."""
    import onnx_ir
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    blocked = [*DEFAULT_OP_BLOCK_LIST, *_IN_FLOAT32]
    halved = convert_float_to_float16(str(path), keep_io_types=True, op_block_list=blocked)
    model = onnx_ir.from_proto(halved)
    model.graph.sort()  # the casts of the inputs come last
    data = path.with_name(f'{path.name}.data')
    onnx_ir.save(model, path, external_data=data.name if data.is_file() else None)
