"""Segmentor and published names of GenPercept."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ....checkpoints.diffusers_names import UNET_NAMES, VAE_NAMES
from ....checkpoints.published import PublishedNames, prefixed
from ...diffdis.decode_head import to_probability
from ..base import DISBaseline
from .network import GenPerceptNetwork


@MODELS.register_module()
class GenPercept(DISBaseline):
    """Stable Diffusion's U-Net and VAE as a segmentor.

    `losses():      mean of the decoded channels -> squared error in pixels`
    `probability(): mean of the decoded channels, clipped`

    Published names are those of a folder in diffusers' layout, prefixed with 'unet.' or 'vae.'.

    Args:
        backbone: Config of the U-Net, without BDE and SWCI.
        neck: Config of its mid block, without interaction.
        vae: Config of the autoencoder.
        prompt_tokens: L, tokens of the empty prompt's embedding: 2 in the second release; 77,
            padded, in the first.
        train_timesteps: Timesteps to sample from, one per image, in training. There is no
            noise; they only choose the time embedding.
        test_timestep: Timestep at inference.
        clip_channels: Whether the decoded channels are clipped before their mean is taken, as in
            the first release, instead of their mean, as in the second.
        test_cfg: See `DISBaseline`.
        data_preprocessor: Config of the preprocessor.
        init_cfg: MMEngine's initialisation config of the network, e.g. `StableDiffusionInit`.

    Raises:
        ValueError: If there are no `train_timesteps`, or they or `test_timestep` are not from 0 to
            999.
    """

    PUBLISHED: ClassVar[PublishedNames] = PublishedNames(
        {
            **prefixed(UNET_NAMES.patterns, 'unet.', 'network.'),
            **prefixed(VAE_NAMES.patterns, 'vae.', 'network.'),
            'prompt': 'network.prompt',
        }
    )

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        vae: dict,
        prompt_tokens: int = 2,
        train_timesteps: Sequence[int] = range(1000),
        test_timestep: int = 1,
        clip_channels: bool = False,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        timesteps = [*train_timesteps, test_timestep]
        if len(timesteps) < 2 or not all(isinstance(t, int) and 0 <= t < 1000 for t in timesteps):
            raise ValueError(
                f'train_timesteps={train_timesteps!r}, test_timestep={test_timestep!r}: expected '
                'at least one, and numbers from 0 to 999'
            )
        network = GenPerceptNetwork(backbone, neck, vae, prompt_tokens, init_cfg)
        super().__init__(network, test_cfg=test_cfg, data_preprocessor=data_preprocessor)
        self.train_timesteps = train_timesteps
        self.test_timestep = test_timestep
        self.clip_channels = clip_channels

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        """Returns decoded images, about [-1, 1], [B, 3, H, W]."""
        if not self.training:
            return self.network(inputs, self.test_timestep)
        indices = torch.randint(len(self.train_timesteps), (len(inputs),))
        timesteps = torch.tensor([self.train_timesteps[i] for i in indices], device=inputs.device)
        return self.network(inputs, timesteps)

    def losses(self, outputs: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns 'loss_mask', the mean squared error of the decoded channels' mean, in [-1, 1]."""
        return dict(loss_mask=F.mse_loss(outputs.mean(1, keepdim=True), targets['mask'] * 2 - 1))

    def probability(self, outputs: Tensor) -> Tensor:
        """Returns the foreground probability, [B, 1, H, W] in [0, 1]."""
        if self.clip_channels:
            return to_probability(outputs).mean(1, keepdim=True)
        return to_probability(outputs.mean(1, keepdim=True))

    def set_precision(self, dtype: torch.dtype, encoder_dtype: torch.dtype) -> None:
        """Casts the weights for inference, see `LatentUNet.set_precision`."""
        self.network.set_precision(dtype, encoder_dtype)

    def set_vae_slicing(self, enabled: bool) -> None:
        """Lets the VAE process the images of a batch one by one, in less memory."""
        self.network.set_vae_slicing(enabled)

    def compiled_blocks(self) -> list[nn.Module]:
        """Returns the modules to be compiled one by one."""
        return self.network.compiled_blocks()

    def cost_parts(self) -> dict[str, list[nn.Module]]:
        """Returns the modules of each part of a prediction, in running order."""
        return self.network.cost_parts()
