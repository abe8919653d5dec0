"""Masks of pictures, from a config and a checkpoint."""

import logging
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from ..checkpoints import misfits_named
from ..images.panels import cutout
from ..models import DiffusionSegmentor
from ..structures import foreground_probability
from ..utils.files import stem_of
from ..utils.parallel import map_ahead
from .configs import image_transforms, load_config, with_test_options
from .decoding import PICTURE_ERRORS, Picture, count_pixels, decode, name_of, reason
from .inputs import find_pictures
from .precision import dtype_of, float32_products

# Pixels of the pictures that are read ahead, predicted at once or written behind, at their original
# sizes. A larger picture goes alone: what it takes is 25 bytes a pixel at most.
PIXEL_BUDGET = 100_000_000
COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')


@dataclass(frozen=True)
class DISResult:
    """What ``DISInferencer`` found in one picture.

    Attributes:
        image: uint8 [H, W, 3] RGB, the upright picture that was predicted.
        mask: float32 [H, W] in [0, 1], probability of foreground.
        edge: float32 [H, W] in [0, 1], or None if not asked for or not known to the model.
        stem: name of the picture without folder and suffix.
        index: which of the pictures given at once this is, from 0.
    """

    image: np.ndarray
    mask: np.ndarray
    edge: np.ndarray | None
    stem: str
    index: int = 0

    def cutout(self) -> np.ndarray:
        """uint8 [H, W, 4] RGBA: the foreground in its own colours, the mask as alpha channel."""
        return cutout(self.image, self.mask)


@dataclass(frozen=True)
class PreparedPicture:
    """A picture that was read, and is ready for the network.

    Attributes:
        image: uint8 [H, W, 3] RGB, upright.
        packed: what the pipeline made of it.
        name: what a report calls it.
        stem: name of the picture without folder and suffix.
        index: which of the pictures given at once this is, from 0.
    """

    image: np.ndarray
    packed: dict
    name: str
    stem: str
    index: int


class DISInferencer:
    """Predicts masks of pictures with any segmentor of a config's ``test_pipeline``.

    Args:
        config: path of a config file, the name of one in ``configs/`` (its stem), or a ``Config``
            or dict, which is not changed.
        checkpoint: path (or mmengine URL) of the weights, which must fit the model exactly; None
            leaves the model as its config's ``init_cfg`` initialises it.
        device: e.g. ``'cuda:0'``, ``'mps'``, ``'cpu'``; None takes a GPU if there is one, or else
            the CPU, and says so.
        edge: whether edges are wanted, which costs models that know edges some time.
        seed: seed of the inference noise instead of the config's.
        precision: what the network computes in: 'float32', 'float16' or 'bfloat16'. What masks
            would change with stays in float32: the autoencoder's encoder, the step from noise to
            mask and, with 'bfloat16', all but the U-Net's coarsest level, too. Masks of the
            tiny model then keep within 2/255 of those of float32 on 99.9 % of pixels.
        encoder_precision: the same for a diffusion model's encoder; None: 'float32', whatever
            `precision` is. Others may exceed these 2/255, and say so.
        tf32: let NVIDIA GPUs compute convolutions and matrix products of what is in float32 from
            factors of 10 bits of mantissa, as torch does by itself; that, too, may exceed 2/255.
        compile: compile the network's blocks, in this mode of ``torch.compile``: 'default',
            'reduce-overhead' (CUDA graphs), 'max-autotune' or 'max-autotune-no-cudagraphs'. The
            first pictures take longer.
        channels_last: keep feature maps with their channels innermost.
        vae_slicing: let the autoencoder take the pictures of a batch one by one, in less memory.

    Raises:
        FileNotFoundError: if the config or the checkpoint does not exist.
        ValueError: if the config has no model or no test pipeline, or an option is not possible.
        TypeError: if the config is something else.
        CheckpointError: if the checkpoint is damaged or does not fit the model exactly.

    Example::

        inferencer = DISInferencer('config.py', 'weights.safetensors')
        inferencer('photo.jpg').mask  # float32 [H, W] in [0, 1]
        for result in inferencer('photos/', batch_size=4):
            Image.fromarray(result.cutout()).save(f'{result.stem}.png')
    """

    def __init__(
        self,
        config: str | Path | Config | dict,
        checkpoint: str | Path | None,
        device: str | torch.device | None = None,
        edge: bool = False,
        seed: int | None = None,
        precision: str = 'float32',
        encoder_precision: str | None = None,
        tf32: bool = False,
        compile: str | None = None,
        channels_last: bool = False,
        vae_slicing: bool = False,
    ) -> None:
        cfg = load_config(config)
        model_cfg = cfg.get('model')
        if model_cfg is None:
            raise ValueError(f"the config '{cfg.filename}' has no `model`.")
        dtype = dtype_of('precision', precision)
        encoder_dtype = dtype_of('encoder_precision', encoder_precision or 'float32')
        if compile and compile not in COMPILE_MODES:
            raise ValueError(f"`compile` is '{compile}', expected one of {list(COMPILE_MODES)}.")
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        self.pipeline = Compose(image_transforms(cfg))
        self.device = choose_device(device)
        self.model = MODELS.build(with_test_options(model_cfg, edge, seed))
        if checkpoint is None:
            self.model.init_weights()
        else:
            with misfits_named(checkpoint):
                load_checkpoint(self.model, str(checkpoint), map_location='cpu', strict=True)
        self.model.to(self.device).eval()
        self.edge = edge
        self._tf32 = tf32
        self._autocast = nullcontext()
        if isinstance(self.model, DiffusionSegmentor):
            self.model.set_precision(dtype, encoder_dtype)
            if encoder_dtype is not torch.float32 or (tf32 and self.device.type == 'cuda'):
                _warn_of_encoder()
            self.model.vae.autoencoder.use_slicing = vae_slicing
        elif vae_slicing or encoder_precision:
            option = 'vae_slicing' if vae_slicing else 'encoder_precision'
            name = type(self.model).__name__
            raise ValueError(f'`{option}` of a {name}, expected a DiffusionSegmentor.')
        elif dtype != torch.float32:
            # a stock segmentor does not cast what goes into it, and its statistics need float32
            self._autocast = torch.autocast(self.device.type, dtype)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        self._compiled = bool(compile)
        if compile:
            for block in _blocks(self.model):
                block.compile(mode=compile)

    def __call__(
        self,
        pictures: Picture | Iterable[Picture],
        stem: str | None = None,
        batch_size: int = 1,
        on_error: Callable[[str, Exception], None] | None = None,
    ) -> DISResult | Iterator[DISResult]:
        """Predict one picture, or many while further ones are being read.

        Args:
            pictures: a picture: path; Pillow image (EXIF orientation honoured, as for paths); or
                uint8 array [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA (transparency is laid over
                white). Or many: a folder, a list, a generator.
            stem: name of the picture (or of each), which together with the seed determines the
                inference noise; None takes the file's name, or ``'image'``.
            batch_size: how many of many pictures the network takes at once, fewer where these
                exceed ``PIXEL_BUDGET`` together. Masks do not depend on it but for rounding.
            on_error: called with the name (or number) of each of many pictures that cannot be
                predicted, and the reason; None logs a warning. The rest is predicted.

        Returns:
            One result at the picture's own size; of many, an iterator over results in their order,
            those of failed ones left out (see ``index``). What `pictures` itself raises follows
            the results of those that it gave before.

        Raises:
            FileNotFoundError: if there is no such file.
            OSError: if a Pillow image cannot be decoded.
            ValueError: if one picture cannot be read or is not of a kind listed above, or the
                network's output is not finite.
            MemoryError: if one picture does not fit into memory.
            TypeError: if `pictures` is something else.
        """
        is_path = isinstance(pictures, (str, Path))
        if is_path and (str(pictures) == '' or Path(pictures).is_dir()):
            pictures = find_pictures([str(pictures)])
        elif is_path or isinstance(pictures, (np.ndarray, Image.Image)):
            return self.predict([self.prepare(pictures, stem)])[0]
        elif not isinstance(pictures, Iterable):
            raise TypeError(
                f'`pictures` is a {type(pictures).__name__}, expected a path, a Pillow image, an '
                'array, or many of these.'
            )
        if batch_size < 1:
            raise ValueError(f'`batch_size` is {batch_size}, expected at least 1.')
        return self._predict_many(pictures, stem, batch_size, on_error or _warn)

    def prepare(self, picture: Picture, stem: str | None = None, index: int = 0) -> PreparedPicture:
        """The first half of predicting a picture, which needs no model."""
        bgr, path = decode(picture)
        stem = unicodedata.normalize('NFC', stem) if stem else stem_of(path or 'image')
        packed = self.pipeline(
            {
                'img': bgr,
                'img_shape': bgr.shape[:2],
                'ori_shape': bgr.shape[:2],
                'img_path': path or stem,
                'stem': stem,
                'seg_fields': [],
            }
        )
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return PreparedPicture(rgb, packed, name_of(picture, index), stem, index)

    def predict(self, batch: Sequence[PreparedPicture]) -> list[DISResult]:
        """The second half, for pictures that the pipeline brought to one size."""
        if self._compiled:
            # To CUDA graphs each compiled block would be a step of its own, which frees what the
            # one before returned.
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), self._autocast, float32_products(self._tf32), _memory_named():
            samples = self.model.test_step(pseudo_collate([one.packed for one in batch]))
            return [
                DISResult(
                    image=one.image,
                    mask=foreground_probability(sample).cpu().numpy(),
                    edge=_edge(sample) if self.edge else None,
                    stem=one.stem,
                    index=one.index,
                )
                for one, sample in zip(batch, samples, strict=True)
            ]

    def _predict_many(
        self,
        pictures: Iterable[Picture],
        stem: str | None,
        batch_size: int,
        on_error: Callable[[str, Exception], None],
    ) -> Iterator[DISResult]:
        def prepare(numbered: tuple[int, Picture]) -> PreparedPicture:
            index, picture = numbered
            return self.prepare(picture, stem, index)

        def size(numbered: tuple[int, Picture]) -> int:
            return count_pixels(numbered[1])

        batch: list[PreparedPicture] = []
        failures: list[Exception] = []
        given = enumerate(_until_failure(pictures, failures))
        for (index, picture), future in map_ahead(prepare, given, batch_size, size, PIXEL_BUDGET):
            try:
                prepared = future.result()
            # what is no picture at all, e.g. the None that OpenCV reads from a broken file, as well
            except (*PICTURE_ERRORS, TypeError) as error:
                on_error(name_of(picture, index), error)
                continue
            # pictures of different sizes cannot be stacked where the pipeline keeps their shape
            pixels = sum(one.image.size // 3 for one in (*batch, prepared))
            if batch and (pixels > PIXEL_BUDGET or _shape(batch[0]) != _shape(prepared)):
                yield from self._predict_what_works(batch, on_error)
                batch = []
            batch.append(prepared)
            if len(batch) == batch_size:
                yield from self._predict_what_works(batch, on_error)
                batch = []
        if batch:
            yield from self._predict_what_works(batch, on_error)
        if failures:
            raise failures[0]

    def _predict_what_works(
        self, batch: list[PreparedPicture], on_error: Callable[[str, Exception], None]
    ) -> list[DISResult]:
        try:
            return self.predict(batch)
        except PICTURE_ERRORS as error:
            if len(batch) == 1:
                on_error(batch[0].name, error)
                return []
        alone = [self._predict_what_works([prepared], on_error) for prepared in batch]
        return [result for results in alone for result in results]


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; None: a GPU if there is one, or else the CPU, which is announced.

    Raises:
        ValueError: if the device is not known or not there.
    """
    there = {'cuda': torch.cuda.is_available(), 'mps': torch.backends.mps.is_available()}
    if device is None:
        kind = next((kind for kind, is_there in there.items() if is_there), 'cpu')
        if kind == 'cpu':
            print_log('no GPU found: predicting on the CPU', logger='current')
        return torch.device(kind)
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"`device` is '{device}', expected 'cpu', 'cuda' or 'mps'.") from error
    if not there.get(device.type, True):
        raise ValueError(
            f"`device` is '{device}', but there is no {device.type} device; leave it out to take "
            'what there is.'
        )
    return device


@contextmanager
def _memory_named() -> Iterator[None]:
    """Turns an allocation that failed inside the block into a ``MemoryError``."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(
                'the memory does not suffice; a smaller batch size, vae_slicing or half precision '
                f'needs less ({str(error).splitlines()[0]})'
            ) from error
        raise


def _blocks(model: nn.Module) -> list[nn.Module]:
    """What is compiled one by one: modules that are called as such, without the glue between."""
    if not isinstance(model, DiffusionSegmentor):
        return list(model.children())
    coder = model.vae.autoencoder
    neck = [] if model.neck is None else [model.neck]
    blocks = [*model.backbone.down_blocks, *neck, *model.backbone.up_blocks]
    return [coder.encoder, *blocks, coder.decoder]


def _edge(sample: SegDataSample) -> np.ndarray | None:
    """float32 [H, W] in [0, 1], or None if the sample has no edge."""
    if 'pred_edge_map' not in sample:
        return None
    edge = sample.pred_edge_map.data[0].float()
    if not all(bound.isfinite() for bound in edge.aminmax()):
        raise ValueError('the edge map holds NaN or infinity; predict in float32.')
    return edge.clamp_(0, 1).cpu().numpy()


def _until_failure(pictures: Iterable[Picture], failures: list[Exception]) -> Iterator[Picture]:
    """`pictures` up to where they raise something, which goes into `failures` instead."""
    try:
        # `yield from` would close a generator that others may go on with
        for picture in pictures:  # noqa: UP028
            yield picture
    except Exception as error:
        failures.append(error)


def _shape(prepared: PreparedPicture) -> torch.Size:
    return prepared.packed['inputs'].shape


def _warn_of_encoder() -> None:
    print_log(
        'encoder not in full float32: masks may differ from those of float32 by more than 2/255',
        logger='current',
        level=logging.WARNING,
    )


def _warn(name: str, error: Exception) -> None:
    print_log(f'skipped {name}: {reason(error)}', logger='current', level=logging.WARNING)
