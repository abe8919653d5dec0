"""Latents that were encoded once, for trainings that would encode the same pictures many times."""

from pathlib import Path

from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from ..structures import image_key


@DATASETS.register_module()
class LatentDataset(Dataset):
    """What ``tools/dataset_converters/encode_latents.py`` wrote; takes `DIS5KDataset`'s place.

    Each item is ``dict(inputs=dict(image_0=[C, h, w], image_1=[C, h/2, w/2], ..., mask=[C, h, w],
    edge=[C, h, w]), data_samples)``; a `DiffusionSegmentor` learns from them as from the pictures,
    without its VAE. In error messages, a sample is the file and its number, e.g. 'file[3]'.

    Args:
        latent_file: the safetensors file.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no safetensors file, or not one of latents.
    """

    def __init__(self, latent_file: str):
        self.latent_file = latent_file
        path = Path(latent_file)
        tool = 'write it with tools/dataset_converters/encode_latents.py'
        if not path.is_file():
            raise FileNotFoundError(f'no file {path}; {tool}')
        try:
            with safe_open(path, 'pt') as file:
                self.latents: dict[str, Tensor] = {
                    name: file.get_tensor(name)
                    for name in file.keys()  # noqa: SIM118, it is no dict
                }
                self.metainfo = file.metadata() or {}
        except SafetensorError as error:
            raise ValueError(f'{path} is no whole safetensors file ({error}); {tool}') from error
        missing = {image_key(0), 'mask'} - set(self.latents)
        if missing:
            raise ValueError(f'{path} has no {sorted(missing)}; {tool}')

    def __len__(self) -> int:
        return len(self.latents['mask'])

    def __getitem__(self, index: int) -> dict:
        inputs = {name: latents[index] for name, latents in self.latents.items()}
        sample = SegDataSample(metainfo=dict(img_path=f'{self.latent_file}[{index}]'))
        return dict(inputs=inputs, data_samples=sample)

    def files(self) -> list[str]:
        """The latents' path."""
        return [self.latent_file]
