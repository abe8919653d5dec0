"""Prediction of masks from a config and a checkpoint."""

import copy
import logging
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from huggingface_hub import HfApi
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from ..checkpoints import explain_misfits
from ..structures import foreground_probability
from ..utils.environment import check_compiler, is_emulated
from ..utils.files import stem_of
from ..utils.parallel import map_ahead
from .configs import image_transforms, load_config, with_test_options
from .cuda_graphs import record_graphs
from .decoding import IMAGE_ERRORS, ImageSource, count_pixels, decode, label, reason
from .hub import load_repository, save_repository
from .inputs import find_pictures
from .precision import dtype_of, float32_products
from .results import Box, DISResult, PreparedImage, place_of, put_back

# Upper bound of the pixels (at the original sizes) that each of the reading, predicting and writing
# queues holds. A larger image goes alone; it takes at most 25 bytes per pixel.
PIXEL_BUDGET = 100_000_000
COMPILE_MODES = ('default', 'max-autotune-no-cudagraphs')


class DISInferencer:
    """Predicts masks with any segmentor, by the test pipeline of its config.

    Args:
        config: Path of a config file, the name of one in `configs/` (its stem), an ONNX file of
            `mmdiffdis export`, or a `Config` or dict, which is not changed.
        checkpoint: Path or MMEngine URL of the weights, which must fit the model exactly; None
            keeps the initialisation of the config's `init_cfg`, or an ONNX file's weights.
        device: E.g. 'cuda:0', 'mps' or 'cpu'; None takes a GPU if there is one, or else the CPU,
            and logs that.
        edge: Whether to predict edges, if the model can, which takes additional time.
        seed: Seed of the inference noise; None keeps the config's.
        precision: 'float32', 'float16' or 'bfloat16', of U-Net, neck and VAE decoder (stock
            segmentors: autocast). In float16, masks of the tiny model keep within 2/255 of those of
            float32 on 99.9 % of pixels; bfloat16 changes them more, with a warning.
        encoder_precision: Precision of the VAE encoder; None: 'float32', whatever `precision` is.
            Others may change masks by more than 2/255, with a warning.
        tf32: Let NVIDIA GPUs compute float32 convolutions and matrix products with TF32, torch's
            default; may change masks by more than 2/255 as well.
        compile: Mode of `torch.compile` for the network's blocks: 'default' or
            'max-autotune-no-cudagraphs'. The first images take longer.
        cuda_graphs: Record the network's kernels at the first image of a shape, and launch them as
            CUDA graphs. For NVIDIA GPUs.
        channels_last: Keep feature maps in the channels-last memory format. On NVIDIA GPUs group
            normalisations then run fused with SiLU in a Triton kernel, unless they are compiled.
        vae_slicing: Let the VAE process the images of a batch one by one, which takes less memory.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If the config has no model or no test pipeline, or if an option is impossible.
        TypeError: If the config is something else.
        CheckpointError: If the checkpoint is damaged or does not fit the model exactly.

    Attributes:
        config: The config, a copy, with `edge` and `seed` in it.
        model: The segmentor.

    Calls of several threads may overlap. A process that is forked after torch has computed anything
    on the CPU may wait forever in a call: start processes by 'spawn'.

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
        cuda_graphs: bool = False,
        channels_last: bool = False,
        vae_slicing: bool = False,
    ) -> None:
        config = load_config(config)
        if config.get('model') is None:
            raise ValueError(f'config {config.filename} has no model')
        if compile and compile not in COMPILE_MODES:
            raise ValueError(f'compile={compile!r}: expected one of {list(COMPILE_MODES)}')
        dtype = dtype_of('precision', precision)
        encoder_dtype = dtype_of('encoder_precision', encoder_precision or 'float32')
        init_default_scope(config.get('default_scope', 'mmseg'))
        self.pipeline = Compose(image_transforms(config))
        self.device = choose_device(device)
        if compile:
            check_compiler(self.device)
        if cuda_graphs and self.device.type != 'cuda':
            raise ValueError(
                f'cuda_graphs: the device is {self.device}, expected an NVIDIA GPU; leave it out'
            )
        self.edge = edge
        config.model = with_test_options(config.model, edge, seed)
        self.config = config
        self.model = MODELS.build(copy.deepcopy(config.model))
        if checkpoint is None:
            self.model.init_weights()
        else:
            with explain_misfits(checkpoint):
                load_checkpoint(self.model, str(checkpoint), map_location='cpu', strict=True)
        self.model.to(self.device).eval()
        self._warn_of_emulation({dtype, encoder_dtype} - {torch.float32})
        self._process = os.getpid()
        self._tf32 = tf32
        self._autocast = nullcontext()
        if hasattr(self.model, 'set_precision'):
            self.model.set_precision(dtype, encoder_dtype)
            self._warn_of_rounding(dtype, encoder_dtype)
        elif encoder_precision:
            raise ValueError(f'encoder_precision: {self._model_type} has no VAE; leave it out')
        elif dtype != torch.float32:
            # does not cast its inputs as set_precision() does, and its statistics need float32
            self._autocast = torch.autocast(self.device.type, dtype)
        if hasattr(self.model, 'set_vae_slicing'):
            self.model.set_vae_slicing(vae_slicing)
        elif vae_slicing:
            raise ValueError(f'vae_slicing: {self._model_type} has no VAE; leave it out')
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
            if self.device.type == 'cuda' and not compile and find_spec('triton'):
                from ..models.diffdis.fused_norm import fuse_norms  # Triton is for GPUs alone

                fuse_norms(self.model)
        if compile:
            for block in self.compiled_blocks():
                block.compile(mode=compile)
        self.cuda_graphs = cuda_graphs
        if cuda_graphs:
            record_graphs(self.model)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, **options
    ) -> 'DISInferencer':
        """Returns the inferencer of a folder, or of a repository of Hugging Face's hub.

        Nothing in it is run: the config is JSON, registered components alone are built of it, and
        no file that it names is read.

        Args:
            name: Folder that `save_pretrained` wrote, or the id of a repository, 'owner/name'.
            revision: Branch, tag or commit of the repository; None takes its newest.
            options: Arguments of the class.

        Raises:
            FileNotFoundError: If there is no such folder or repository, or a file is missing in it.
            ValueError: If its config is another library's or would run code, or a folder has a
                revision.
        """
        return cls(*load_repository(name, revision), **options)

    def save_pretrained(
        self, folder: str | Path, license: str = 'unknown', scores: str | Path | None = None
    ) -> Path:
        """Writes config, weights and model card to a folder, and returns it.

        The layout is the same for every model: `config.json` with the model and the test pipeline,
        without training, names of files and `init_cfg`; `model.safetensors`, in the precision that
        the weights have here; `README.md`. `from_pretrained` makes the same masks of it.

        Args:
            folder: Folder that has none of these files.
            license: Licence of the weights, as the hub names it, e.g. 'apache-2.0'.
            scores: JSON file that `test.py --out` wrote, for the card.

        Raises:
            FileExistsError: If the folder has one of these files.
            ValueError: If the config names a file or a part that is not registered, or the scores
                are of another kind.
        """
        folder = Path(folder).expanduser()
        name = folder.resolve().name
        save_repository(folder, name, self.model, self.config, license, scores)
        return folder

    def push_to_hub(
        self,
        name: str,
        license: str = 'unknown',
        scores: str | Path | None = None,
        private: bool = False,
    ) -> str:
        """Writes the files of `save_pretrained` to a repository of the hub, and returns their URL.

        The account is that of `hf auth login` or of the environment variable HF_TOKEN.

        Args:
            name: Id of the repository, 'owner/name', which is made if needed.
            license: As in `save_pretrained`.
            scores: As in `save_pretrained`.
            private: Make a new repository visible to its owner alone.
        """
        api = HfApi()
        with TemporaryDirectory() as folder:
            save_repository(Path(folder), name, self.model, self.config, license, scores)
            api.create_repo(name, private=private, exist_ok=True)
            return api.upload_folder(repo_id=name, folder_path=folder).commit_url

    @property
    def _model_type(self) -> str:
        return type(self.model).__name__

    def _warn_of_rounding(self, dtype: torch.dtype, encoder_dtype: torch.dtype) -> None:
        """Warns of precisions that change masks by more than 2/255 (docs/benchmarks.md)."""
        if dtype is torch.bfloat16:
            _warn(
                'U-Net, neck and VAE decoder in bfloat16: masks of the tiny model differ by up to '
                '13/255 from float32 on 99.9 % of pixels; float16 keeps within 2/255'
            )
        if encoder_dtype is not torch.float32 or (self._tf32 and self.device.type == 'cuda'):
            _warn('encoder not in full float32: masks may differ by more than 2/255')

    def _warn_of_emulation(self, dtypes: set[torch.dtype]) -> None:
        for dtype in dtypes if self.device.type == 'cpu' else ():
            if is_emulated(dtype):
                name = str(dtype).removeprefix('torch.')
                _warn(f'this CPU emulates {name}, which takes many times as long as float32')

    def _warn_of_fork(self) -> None:
        if os.getpid() != self._process and torch.get_num_threads() > 1:
            self._process = os.getpid()
            _warn(
                'predicting in a forked process: torch may wait for threads that the fork left '
                "behind; start processes by 'spawn', or set OMP_NUM_THREADS=1"
            )

    def compiled_blocks(self) -> list[torch.nn.Module]:
        """Returns the modules that are compiled one by one, without the code between them."""
        if hasattr(self.model, 'compiled_blocks'):
            return self.model.compiled_blocks()
        return list(self.model.children())

    def __call__(
        self,
        images: ImageSource | Iterable[ImageSource],
        stem: str | None = None,
        batch_size: int = 1,
        on_error: Callable[[str, Exception], None] | None = None,
        box: Box | None = None,
    ) -> DISResult | Iterator[DISResult]:
        """Predicts one image, or many while further ones are being read.

        Args:
            images: An image: path; Pillow image (EXIF orientation is applied, as for paths); or
                uint8 array [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA. Transparent images are
                laid over white. Or many: a folder, a list, a generator.
            stem: Name of the image (or of each), which together with the seed determines the
                inference noise; None takes the file's name, or 'image'.
            batch_size: Number of images that the network takes at once, fewer if they exceed
                `PIXEL_BUDGET` together. Masks do not depend on it, except for rounding.
            on_error: Called with the name (or number) of each of many images that cannot be
                predicted, and the reason; None logs a warning. The others are predicted.
            box: Left, top, right and bottom, in pixels, of the part of each image that holds the
                subject. The network sees that part alone, with a margin of a tenth of its sides;
                the mask is 0 elsewhere. What leaves the image is cut off.

        Returns:
            One result at the image's own size; for many images, an iterator over results in their
            order, without those of failed images (see `index`). An error of the iterable itself
            follows the results of the images before it.

        Raises:
            FileNotFoundError: If there is no such file.
            OSError: If a Pillow image cannot be decoded.
            ValueError: If a single image cannot be read, is a URL or of another kind, if it has no
                pixel in the box, or if the network's output is not finite.
            MemoryError: If a single image does not fit into memory.
            TypeError: If `images` is something else, e.g. bytes, a file object, a tensor or a dict.
        """
        is_path = isinstance(images, (str, Path))
        if is_path and (str(images) == '' or Path(images).is_dir()):
            images = find_pictures([str(images)])
        elif is_path or isinstance(images, (np.ndarray, Image.Image)):
            return self.predict([self.prepare(images, stem, 0, box)])[0]
        elif not isinstance(images, Iterable) or _is_one_thing(images):
            raise TypeError(
                f'images is a {type(images).__name__}: expected a path, a Pillow image '
                '(PIL.Image.open reads file objects, too), an array, or an iterable of these'
            )
        if batch_size < 1:
            raise ValueError(f'batch_size={batch_size}: expected at least 1')
        return self._predict_many(images, stem, batch_size, on_error or _warn_of_skipped, box)

    def prepare(
        self,
        image: ImageSource,
        stem: str | None = None,
        index: int = 0,
        box: Box | None = None,
    ) -> PreparedImage:
        """Decodes an image and applies the pipeline, to the box if there is one; needs no model."""
        decoded, path = decode(image)
        if decoded.has_more_frames:
            name = label(image, index)
            _warn(f'{name} has several frames or pages: only the first is predicted')
        bgr = decoded.bgr
        place = PreparedImage.place if box is None else place_of(box, bgr.shape)
        part = np.ascontiguousarray(bgr[place])
        stem = unicodedata.normalize('NFC', stem) if stem else stem_of(path or 'image')
        packed = self.pipeline(
            {
                'img': part,
                'img_shape': part.shape[:2],
                'ori_shape': part.shape[:2],
                'img_path': path or stem,
                'stem': stem,
                'seg_fields': [],
            }
        )
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return PreparedImage(
            rgb,
            packed,
            label(image, index),
            stem,
            index,
            decoded.opacity,
            decoded.metadata,
            decoded.has_more_frames,
            place,
        )

    def predict(self, batch: Sequence[PreparedImage]) -> list[DISResult]:
        """Predicts images that the pipeline has brought to one size."""
        self._warn_of_fork()
        with (
            torch.no_grad(),
            self._autocast,
            float32_products(self._tf32),
            _raise_memory_error(),
        ):
            samples = self.model.test_step(pseudo_collate([image.packed for image in batch]))
            return [
                DISResult(
                    image=image.image,
                    mask=put_back(foreground_probability(sample).cpu().numpy(), image),
                    edge=put_back(_edge(sample), image) if self.edge else None,
                    stem=image.stem,
                    index=image.index,
                    opacity=image.opacity,
                    metadata=image.metadata,
                    has_more_frames=image.has_more_frames,
                )
                for image, sample in zip(batch, samples, strict=True)
            ]

    def _predict_many(
        self,
        images: Iterable[ImageSource],
        stem: str | None,
        batch_size: int,
        on_error: Callable[[str, Exception], None],
        box: Box | None,
    ) -> Iterator[DISResult]:
        def prepare(numbered: tuple[int, ImageSource]) -> PreparedImage:
            index, image = numbered
            return self.prepare(image, stem, index, box)

        def size(numbered: tuple[int, ImageSource]) -> int:
            return count_pixels(numbered[1])

        batch: list[PreparedImage] = []
        errors: list[Exception] = []
        numbered_images = enumerate(_catch_error(images, errors))
        for (index, image), future in map_ahead(
            prepare, numbered_images, batch_size, size, PIXEL_BUDGET
        ):
            try:
                prepared = future.result()
            # TypeError: no image at all, e.g. the None that OpenCV returns for a broken file
            except (*IMAGE_ERRORS, TypeError) as error:
                on_error(label(image, index), error)
                continue
            pixels = sum(p.image.size // 3 for p in (*batch, prepared))
            # sizes differ if the pipeline keeps the aspect ratio; such images cannot be stacked
            if batch and (pixels > PIXEL_BUDGET or _shape(batch[0]) != _shape(prepared)):
                yield from self._predict_or_report(batch, on_error)
                batch = []
            batch.append(prepared)
            if len(batch) == batch_size:
                yield from self._predict_or_report(batch, on_error)
                batch = []
        if batch:
            yield from self._predict_or_report(batch, on_error)
        if errors:
            raise errors[0]

    def _predict_or_report(
        self, batch: list[PreparedImage], on_error: Callable[[str, Exception], None]
    ) -> list[DISResult]:
        """Predicts a batch; if that fails, its images one by one, and reports those that fail."""
        try:
            return self.predict(batch)
        except IMAGE_ERRORS as error:
            if len(batch) == 1:
                on_error(batch[0].label, error)
                return []
        return [result for image in batch for result in self._predict_or_report([image], on_error)]


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """Returns a device; for None a GPU if there is one, or else the CPU, which is logged.

    Raises:
        ValueError: If the device is not known or not available; the message names those that are.
    """
    gpus = [f'cuda:{index}' for index in range(torch.cuda.device_count())]
    gpus += ['mps'] if torch.backends.mps.is_available() else []
    if device is None:
        if not gpus:
            print_log('no GPU found: predicting on the CPU', logger='current')
        return torch.device(gpus[0].split(':')[0] if gpus else 'cpu')
    try:
        chosen = torch.device(device)
        if chosen.type == 'meta':
            raise RuntimeError('it computes nothing')
        torch.empty(0, device=chosen)
    except Exception as error:  # each kind of device fails in its own way
        raise ValueError(
            f"device='{device}' is not there: expected one of {', '.join(['cpu', *gpus])}; leave "
            'it out to choose one'
        ) from error
    return chosen


@contextmanager
def _raise_memory_error() -> Iterator[None]:
    """Turns an allocation that failed inside the block into a `MemoryError`."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise MemoryError(
                'out of memory; a smaller batch size, vae_slicing or half precision needs less '
                f'({str(error).splitlines()[0]})'
            ) from error
        raise


def _edge(sample: SegDataSample) -> np.ndarray | None:
    """Returns float32 [H, W] in [0, 1], or None if the sample has no edge."""
    if 'pred_edge_map' not in sample:
        return None
    edge = sample.pred_edge_map.data[0].float()
    if not all(bound.isfinite() for bound in edge.aminmax()):
        raise ValueError('the edge map holds NaN or infinity: predict in float32')
    return edge.clamp_(0, 1).cpu().numpy()


def _catch_error(images: Iterable[ImageSource], errors: list[Exception]) -> Iterator[ImageSource]:
    """Yields `images` until they raise an error, which is appended to `errors`."""
    try:
        # `yield from` would close a generator that the caller may continue with
        for image in images:  # noqa: UP028
            yield image
    except Exception as error:
        errors.append(error)


def _is_one_thing(images: Iterable) -> bool:
    """Returns whether an iterable is the content of an image or names images, not a series."""
    kinds = (bytes, bytearray, memoryview, torch.Tensor, Mapping)
    return isinstance(images, kinds) or hasattr(images, 'read')


def _shape(prepared: PreparedImage) -> torch.Size:
    return prepared.packed['inputs'].shape


def _warn_of_skipped(name: str, error: Exception) -> None:
    _warn(f'skipped {name}: {reason(error)}')


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
