"""Encoding of a training set to latents, and the data set of these."""

import hashlib
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..structures import PIXELS, image_key, pixels_key

VAE_KEY = 'vae'  # of the file's metadata: `encoder_hash`


@DATASETS.register_module()
class LatentDataset(Dataset):
    """Latents from `tools/dataset_converters/encode_latents.py`, instead of a `DIS5KDataset`.

    Each item is `dict(inputs=dict(image_0=[C, h, w], image_1=[C, h/2, w/2], ..., mask=[C, h, w],
    edge=[C, h, w]), data_samples)`. `DiffusionSegmentor` trains on them without its VAE's encoder.
    For a head whose loss is one of pixels there are images and ground truth as well, uint8.
    Error messages name a sample by the file and its number, e.g. 'file[3]'.

    Args:
        latent_file: Path of the safetensors file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, is truncated, or has no latents.
    """

    def __init__(self, latent_file: str):
        self.latent_file = latent_file
        path = Path(latent_file)
        hint = 'write it with tools/dataset_converters/encode_latents.py'
        if not path.is_file():
            raise FileNotFoundError(f'no file {path}; {hint}')
        try:
            with safe_open(path, 'pt') as file:
                self.latents: dict[str, Tensor] = {
                    name: file.get_tensor(name)
                    for name in file.keys()  # noqa: SIM118, it is no dict
                }
                self.metainfo = file.metadata() or {}
        except SafetensorError as error:
            raise ValueError(f'{path} is no whole safetensors file ({error}); {hint}') from error
        missing = {image_key(0), 'mask'} - set(self.latents)
        if missing:
            raise ValueError(f'{path} has no {sorted(missing)}; {hint}')

    def __len__(self) -> int:
        return len(self.latents['mask'])

    def __getitem__(self, index: int) -> dict:
        inputs = {name: latents[index] for name, latents in self.latents.items()}
        sample = SegDataSample(metainfo=dict(img_path=f'{self.latent_file}[{index}]'))
        return dict(inputs=inputs, data_samples=sample)

    def files(self) -> list[str]:
        """Returns the path of the latents."""
        return [self.latent_file]


def encoder_hash(vae: nn.Module) -> str:
    """Returns a hash of an autoencoder's encoder and of the scale of its latents.

    Args:
        vae: An `Autoencoder` in float32.
    """
    total = hashlib.blake2b(repr(vae.scaling_factor).encode(), digest_size=16)
    for module in vae.encoder_modules():
        for name, tensor in module.state_dict().items():
            total.update(name.encode())
            total.update(tensor.detach().float().cpu().contiguous().numpy().data)
    return total.hexdigest()


def to_uint8(images: Tensor, gt: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns images in [-1, 1] and ground truth in [0, 1] as uint8, by their names in a file."""
    pixels = {PIXELS: (images + 1) * 127.5} | {
        pixels_key(name): gt_map * 255 for name, gt_map in gt.items()
    }
    return {name: values.round().clamp(0, 255).byte() for name, values in pixels.items()}


class _SamplesOrErrors(Dataset):
    """A data set with the text of the error in the place of a sample that cannot be read."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict | str:
        try:
            return self._dataset[index]
        except (OSError, ValueError) as error:
            return ' '.join(str(error).split())


@torch.no_grad()
def encode_latents(
    model: nn.Module,
    dataset: Dataset,
    passes: int,
    batch_size: int,
    workers: int,
    amp: bool = False,
) -> tuple[dict[str, Tensor], list[str]]:
    """Encodes all samples of a training set, augmented anew in each pass.

    Args:
        model: A `DiffusionSegmentor` in evaluation mode.
        dataset: Training set of images.
        passes: Number of passes over the set.
        batch_size: Images per batch.
        workers: Processes that load images.
        amp: Whether to encode in bfloat16.

    Returns:
        Name -> latents [passes * images, C, h, w] float16 and, if the head's loss needs them,
        images and ground truth, uint8; and a text for each sample that was left out because it
        cannot be read.

    Raises:
        ValueError: If no sample can be read.
    """
    model.data_preprocessor.cutmix = None  # mixes with the other samples of each training batch
    loader = DataLoader(
        _SamplesOrErrors(dataset),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
    )
    device = next(model.parameters()).device
    parts, errors = [], {}  # a dict, because each pass meets the same ones
    for _ in range(passes):
        for batch in tqdm(loader, unit='batch'):
            errors |= dict.fromkeys(sample for sample in batch if isinstance(sample, str))
            samples = [sample for sample in batch if not isinstance(sample, str)]
            if not samples:
                continue
            data = model.data_preprocessor(pseudo_collate(samples), training=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                latents = {name: z.half() for name, z in model.encode_pairs(**data).items()}
            if model.decode_head.needs_pixels:
                latents |= to_uint8(*model.pixels(**data))
            parts.append({name: z.cpu() for name, z in latents.items()})
        if not parts:
            raise ValueError(f'no image could be read: {next(iter(errors), "the set is empty")}')
    # the file format does not know channels-last, the layout of some latents
    joined = {name: torch.cat([part[name] for part in parts]).contiguous() for name in parts[0]}
    return joined, [*errors]
