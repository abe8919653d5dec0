"""Masks of pictures, from a config and a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from PIL import Image, ImageOps

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.datasets.transforms.loading import read_rgb, to_rgb
from mmdiffdis.structures import foreground_probability

# What a test pipeline does to files and truth; the inferencer hands over decoded pictures instead.
_LOADING_TRANSFORMS = frozenset(
    (
        'LoadImageFromFile',
        'LoadDISImage',
        'LoadAnnotations',
        'LoadDISAnnotations',
        'GenerateDISEdge',
        'GenerateEdge',
    )
)


@dataclass(frozen=True)
class DISResult:
    """What ``DISInferencer`` found in one picture.

    Attributes:
        image: uint8 [H, W, 3] RGB, the upright picture that was predicted.
        mask: float32 [H, W] in [0, 1], probability of foreground.
        edge: float32 [H, W] in [0, 1], or None if not asked for or not known to the model.
        stem: name of the picture without folder and suffix.
    """

    image: np.ndarray
    mask: np.ndarray
    edge: np.ndarray | None
    stem: str


class DISInferencer:
    """Predicts masks of single pictures with any segmentor of a config's ``test_pipeline``.

    Args:
        config: path of a config file, or a ``Config``; it is not changed.
        checkpoint: path (or mmengine URL) of the weights, which must fit the model exactly; None
            leaves the model as its config's ``init_cfg`` initialises it.
        device: e.g. ``'cuda:0'``; None takes a GPU if there is one.
        edge: whether edges are wanted, which costs models that know edges some time.
        seed: seed of the inference noise instead of the config's.

    Raises:
        FileNotFoundError: if the config or the checkpoint does not exist.
        ValueError: if the config has no model or no test pipeline.
        CheckpointError: if the checkpoint is damaged or does not fit the model exactly.

    Example::

        result = DISInferencer('config.py', 'weights.safetensors')('photo.jpg')
        result.mask  # float32 [H, W] in [0, 1]
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None,
        device: str | torch.device | None = None,
        edge: bool = False,
        seed: int | None = None,
    ) -> None:
        cfg = Config.fromfile(config) if isinstance(config, (str, Path)) else config
        model_cfg = cfg.get('model')
        if model_cfg is None:
            raise ValueError(f"the config '{cfg.filename}' has no `model`.")
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.pipeline = Compose(_picture_transforms(cfg))
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model = MODELS.build(with_test_options(model_cfg, edge, seed))
        if checkpoint is None:
            self.model.init_weights()
        else:
            with misfits_named(checkpoint):
                load_checkpoint(self.model, str(checkpoint), map_location='cpu', strict=True)
        self.model.to(self.device).eval()
        self.edge = edge

    @torch.no_grad()
    def __call__(
        self, picture: str | Path | np.ndarray | Image.Image, stem: str | None = None
    ) -> DISResult:
        """Predict one picture, at its own size.

        Args:
            picture: path; Pillow image (EXIF orientation honoured, as for paths); or uint8 array
                [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA (transparency is laid over white).
            stem: name of the picture, which together with the seed determines the inference noise;
                None takes the file's name, or ``'image'``.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the picture cannot be read or is not of a kind listed above.
            TypeError: if ``picture`` is something else.
        """
        rgb, path = _decode(picture)
        stem = stem or (Path(path).stem if path else 'image')
        packed = self.pipeline(
            {
                'img': np.ascontiguousarray(rgb[..., ::-1]),  # BGR, like the loading transforms
                'img_shape': rgb.shape[:2],
                'ori_shape': rgb.shape[:2],
                'img_path': path or stem,
                'stem': stem,
                'seg_fields': [],
            }
        )
        sample = self.model.test_step(pseudo_collate([packed]))[0]
        edge = sample.get('pred_edge_map') if self.edge else None
        return DISResult(
            image=rgb,
            mask=foreground_probability(sample).cpu().numpy(),
            edge=None if edge is None else edge.data[0].float().clamp(0, 1).cpu().numpy(),
            stem=stem,
        )


@contextmanager
def misfits_named(checkpoint: str | Path, longest: int = 1500) -> Iterator[None]:
    """Turns the failure of a strict loading inside the block into a ``CheckpointError``.

    Args:
        checkpoint: what is loaded.
        longest: characters kept of the list of missing, unexpected and misshapen keys.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error)
        reason = reason if len(reason) <= longest else f'{reason[:longest]} ...'
        raise CheckpointError(
            f'checkpoint {checkpoint} does not fit the model of the config: {reason}'
        ) from error


def _picture_transforms(cfg: Config) -> list[ConfigDict]:
    """The test pipeline without loading."""
    pipeline = cfg.get('test_pipeline')
    if pipeline is None:
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        pipeline = dataset.get('pipeline')
    if pipeline is None:
        raise ValueError(
            f"the config '{cfg.filename}' has neither `test_pipeline` nor "
            '`test_dataloader.dataset.pipeline`, so it does not say how to prepare a picture.'
        )
    kept = [step for step in pipeline if step['type'].split('.')[-1] not in _LOADING_TRANSFORMS]
    return [step.copy() for step in kept]


def with_test_options(
    model_cfg: ConfigDict, edge: bool = False, seed: int | None = None
) -> ConfigDict:
    """A copy of the model's config that says in ``test_cfg`` what is wanted."""
    model_cfg = ConfigDict(model_cfg.to_dict())
    test_cfg = dict(model_cfg.get('test_cfg') or {})
    if edge or 'edge' in test_cfg:
        test_cfg['edge'] = edge
    if seed is not None:
        test_cfg['seed'] = seed
    if test_cfg:
        model_cfg.test_cfg = test_cfg
    return model_cfg


def _decode(picture: str | Path | np.ndarray | Image.Image) -> tuple[np.ndarray, str | None]:
    """(uint8 RGB [H, W, 3], path or None)."""
    if isinstance(picture, (str, Path)):
        return read_rgb(str(picture)), str(picture)
    if isinstance(picture, Image.Image):
        return to_rgb(ImageOps.exif_transpose(picture)), getattr(picture, 'filename', None) or None
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f'`picture` is a {type(picture).__name__}, expected a path, a Pillow image or an array.'
        )
    is_known_shape = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))
    if picture.dtype != np.uint8 or not is_known_shape or picture.size == 0:
        raise ValueError(
            f'the array is {picture.dtype} of shape {picture.shape}, expected uint8 [H, W], '
            '[H, W, 3] (RGB) or [H, W, 4] (RGBA).'
        )
    return to_rgb(Image.fromarray(picture)), None
