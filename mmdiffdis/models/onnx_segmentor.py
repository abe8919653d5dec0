"""Networks in ONNX files as segmentors, run by onnxruntime."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ..structures import image_stem, set_prediction, to_original_size
from ..utils.files import add_to_hash
from .data_preprocessor import stretch
from .diffdis import per_image_noise
from .segmentor import DISSegmentor, unnamed_samples

METADATA = 'mmdiffdis'  # key of the file's metadata_props
# Rule of resizing images -> backend of `DISResize`.
RESIZE_RULES = {'PIL.Image.BILINEAR': 'pillow', 'cv2.INTER_LINEAR': 'cv2'}
_PROVIDERS = {'cpu': 'CPUExecutionProvider', 'cuda': 'CUDAExecutionProvider'}


def open_session(path: str | Path, provider: str = _PROVIDERS['cpu'], optimise: bool = True):
    """Returns an `onnxruntime.InferenceSession` of a file, with as many threads as torch.

    Args:
        path: The file.
        provider: Execution provider of onnxruntime.
        optimise: Whether the graph is optimised, which takes seconds for large networks.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the package onnxruntime is not installed.
        ValueError: If the file is damaged or of another kind.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path} does not exist; expected an ONNX file')
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "running ONNX files needs the package onnxruntime: `pip install 'mmdiffdis[onnx]'`"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # of onnxruntime, which has no base class
        raise ValueError(f'{path} is no ONNX file, or damaged: {error}') from error


def read_metadata(path: str | Path) -> dict:
    """Returns what `tools/deployment/export_onnx.py` has written into a file beside the network.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the package onnxruntime is not installed.
        ValueError: If the file is damaged or comes from another program.
    """
    texts = open_session(path, optimise=False).get_modelmeta().custom_metadata_map
    if METADATA not in texts:
        raise ValueError(
            f'{path} does not say how to prepare an image: expected a file of `mmdiffdis export`'
        )
    return json.loads(texts[METADATA])


def config_of_onnx(path: str | Path) -> dict:
    """Returns the config of an exported file: the model, and `test_pipeline`.

    Args:
        path: The file.

    Raises:
        FileNotFoundError, ImportError, ValueError: As `read_metadata`.
    """
    metadata = read_metadata(path)
    image, noise = metadata['image'], metadata['noise']
    by_maximum = image['divide_by_maximum']
    model = dict(
        type='OnnxSegmentor',
        path=str(path),
        mask=metadata['mask'],
        data_preprocessor=dict(
            type='U2NetDataPreProcessor' if by_maximum else 'SegDataPreProcessor',
            mean=image['mean'],
            std=image['std'],
            bgr_to_rgb=image['channels'] == 'RGB',
        ),
    )
    if noise:
        model |= dict(
            type='OnnxDiffusionSegmentor',
            noise_channels=noise['channels'],
            noise_stride=noise['stride'],
            test_cfg=dict(seed=noise['seed']),
        )
    resize = dict(scale=tuple(image['size'][::-1]), backend=RESIZE_RULES[image['resize']])
    pipeline = [
        dict(type='LoadDISImage'),
        dict(type='DISResize', **resize),
        dict(type='PackDISInputs'),
    ]
    return dict(model=model, test_pipeline=pipeline)


class OnnxNetwork(nn.Module):
    """A network in a file. It has no parameters, but a hash of the file as a buffer.

    Args:
        path: The file.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)
        self.register_buffer('digest', torch.zeros(16, dtype=torch.uint8))

    def open(self, device: torch.device) -> None:
        """Opens the file, to be run on a device.

        Raises:
            ValueError: If onnxruntime cannot run on that device.
        """
        import onnxruntime

        provider = _PROVIDERS.get(device.type)
        available = onnxruntime.get_available_providers()
        if provider not in available:
            raise ValueError(
                f"device='{device}': the installed onnxruntime has {', '.join(available)} alone; "
                "choose device='cpu', or install onnxruntime-gpu for NVIDIA GPUs"
            )
        self._session = open_session(self.path, provider)
        total = hashlib.blake2b(digest_size=16)
        for part in (self.path, self.path.with_name(f'{self.path.name}.data')):
            if part.is_file():
                add_to_hash(total, part)
        self.digest.copy_(torch.frombuffer(bytearray(total.digest()), dtype=torch.uint8))

    def forward(self, **inputs: Tensor) -> Tensor:
        """Returns the file's output for inputs of the same names, of any batch size."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        total = len(next(iter(arrays.values())))
        fixed = self._session.get_inputs()[0].shape[0]
        step = fixed if isinstance(fixed, int) else total
        outputs = []
        for start in range(0, total, step):
            part = {name: array[start : start + step] for name, array in arrays.items()}
            outputs += self._session.run(None, part)
        return torch.from_numpy(np.concatenate(outputs)).to(next(iter(inputs.values())).device)


@MODELS.register_module()
class OnnxSegmentor(DISSegmentor):
    """The network of an exported file, and what its metadata says about the mask.

    Args:
        path: The file.
        mask: `activation`: None, or 'sigmoid' of a mask of logits, after resizing; `stretch`: None,
            'before resizing' or 'after resizing', when the mask is stretched to [0, 1] by its own
            extremes; `align_corners`: of the resizing of logits, which has no anti-aliasing;
            `threshold`: probability above which a pixel is foreground.
        test_cfg: As of `DISSegmentor`.
        data_preprocessor: Config of the preprocessor.
    """

    def __init__(
        self,
        path: str,
        mask: dict,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ):
        super().__init__(test_cfg, data_preprocessor)
        self.network = OnnxNetwork(path)
        self.mask = mask
        self.threshold = mask['threshold']

    def to(self, *args, **kwargs) -> 'OnnxSegmentor':
        """Opens the file for a device.

        Raises:
            ValueError: If a memory format is asked for.
        """
        if 'memory_format' in kwargs:
            raise _fixed('channels_last')
        super().to(*args, **kwargs)
        self.network.open(self.data_preprocessor.device)
        return self

    def set_precision(self, dtype: torch.dtype, encoder_dtype: torch.dtype) -> None:
        """Refuses another precision than float32, which stands for the file's own."""
        if {dtype, encoder_dtype} != {torch.float32}:
            raise _fixed('precision')

    def compiled_blocks(self) -> list[nn.Module]:
        """Refuses to be compiled."""
        raise _fixed('compile')

    def cost_parts(self) -> dict[str, list[nn.Module]]:
        """Returns the parts of a prediction."""
        return {'network': [self.network]}

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Returns samples with masks at the images' original sizes.

        Args:
            inputs: Normalised images, [B, 3, H, W].
            data_samples: Samples with `ori_shape` and, for networks with noise, the file's name;
                None: masks have the inputs' size.
        """
        samples = unnamed_samples(inputs) if data_samples is None else data_samples
        for mask, sample in zip(self.run(inputs, samples), samples, strict=True):
            if self.mask['activation'] == 'sigmoid':
                size = tuple(sample.ori_shape[:2])
                corners = self.mask['align_corners']
                mask = F.interpolate(mask[None], size, mode='bilinear', align_corners=corners)[0]
                mask = mask.sigmoid()
            else:
                mask = to_original_size(mask, sample.metainfo)
            if self.mask['stretch'] == 'after resizing':
                mask = stretch(mask)
            set_prediction(sample, mask, self.threshold)
        return samples

    def run(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Tensor:
        """Returns the network's masks or logits, [B, 1, h, w], stretched if that comes first."""
        return self._stretched(self.network(image=inputs))

    def _stretched(self, masks: Tensor) -> Tensor:
        if self.mask['stretch'] == 'before resizing':
            return torch.stack([stretch(mask) for mask in masks])
        return masks

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Refuses to be trained."""
        raise _fixed('training')

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Returns the network's masks or logits."""
        return self.network(image=inputs)


@MODELS.register_module()
class OnnxDiffusionSegmentor(OnnxSegmentor):
    """An exported network that starts from noise, which is drawn as in `DiffusionSegmentor`.

    Args:
        noise_channels: Channels of the noise.
        noise_stride: Pixels of the image per pixel of the noise.
        **kwargs: Arguments of `OnnxSegmentor`. `test_cfg.seed`: a number or a list, over which
            masks are averaged.
    """

    TEST_DEFAULTS = dict(seed=0)

    def __init__(self, noise_channels: int, noise_stride: int, **kwargs):
        super().__init__(**kwargs)
        self.noise_channels, self.noise_stride = noise_channels, noise_stride

    def run(self, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> Tensor:
        """Returns the masks, [B, 1, h, w], averaged over the seeds."""
        names = [image_stem(sample) for sample in data_samples]
        height, width = (side // self.noise_stride for side in inputs.shape[-2:])
        seeds = self.test_cfg['seed']
        masks = []
        for seed in [seeds] if isinstance(seeds, int) else seeds:
            shape = (self.noise_channels, height, width)
            noise = per_image_noise(names, shape, seed, inputs.device)
            masks.append(self._stretched(self.network(image=inputs, noise=noise)))
        return torch.stack(masks).mean(0)


def _fixed(option: str) -> ValueError:
    return ValueError(
        f'{option}: the network of an ONNX file is fixed at its export; leave it out, or export '
        'another file'
    )
