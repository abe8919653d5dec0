"""GenPercept: Stable Diffusion's U-Net and VAE as a one-step network from image to mask.

Xu et al., What Matters When Repurposing Diffusion Models for General Dense Perception Tasks?,
ICLR 2025. It is made of DiffDIS's components, without noise and without edges.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ...checkpoints.diffusers_names import UNET_NAMES, VAE_NAMES
from ..diffdis.decode_head import to_probability
from ..diffdis.latent_unet import LatentUNet
from .base import DISBaseline


class GenPerceptNetwork(LatentUNet, BaseModule):
    """Decodes what the U-Net makes of an image's latent.

    ``forward(): image -> vae.encode -> backbone, with the neck -> vae.decode -> decoded image``

    Args:
        backbone: config of the U-Net.
        neck: config of its mid block.
        vae: config of the autoencoder.
        prompt_tokens: L, tokens of the empty prompt's embedding, a buffer of the checkpoint.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        vae: dict,
        prompt_tokens: int,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.build_parts(vae, backbone, neck, prompt_tokens, input_latents=1)

    def forward(self, images: Tensor, timesteps: int | Tensor) -> Tensor:
        """Decoded images.

        Args:
            images: [B, 3, H, W] in [-1, 1]; the released code crops sides that the VAE cannot
                divide, here they are padded, and the result is cropped.
            timesteps: one for all, or [B].

        Returns:
            [B, 3, H, W], about [-1, 1]; the mask is the mean of the channels.
        """
        height, width = images.shape[-2:]
        divisor = self.vae.size_divisor
        images = F.pad(images, (0, -width % divisor, 0, -height % divisor), mode='replicate')
        latent = self.vae.encode(images)
        (v,) = self.unet(latent[:, :0], [latent], timesteps)
        # v = sqrt(abar) noise - sqrt(1 - abar) z_0; with betas of 1, abar is 0 at every timestep.
        return self.vae.decode(-v)[..., :height, :width]


@MODELS.register_module()
class GenPercept(DISBaseline):
    """GenPercept as a segmentor.

    ``losses():      mean of the decoded channels -> squared error in pixels``
    ``probability(): mean of the decoded channels, clipped``

    Published names are those of a folder in diffusers' layout, 'unet.' or 'vae.' before them.

    Args:
        backbone: config of the U-Net, without BDE and SWCI.
        neck: config of its mid block, without interaction.
        vae: config of the autoencoder.
        prompt_tokens: L, tokens of the empty prompt's embedding: 2 in the second release; 77,
            padded, in the first.
        train_timesteps: of these, one is drawn per image in training. There is no noise whose
            amount they could tell; they only choose the time embedding.
        test_timestep: the same at inference.
        clip_channels: clip the decoded channels before their mean is taken, as the first release
            does, instead of the mean, as the second.
        test_cfg: as of :class:`DISBaseline`.
        data_preprocessor: config of the preprocessor.
        init_cfg: mmengine's initialisation config of the network, e.g. `StableDiffusionInit`.
    """

    PUBLISHED_PREFIXES: ClassVar[dict[str, str]] = {
        f'{folder}{theirs}': f'network.{ours}'
        for folder, table in (
            ('unet.', UNET_NAMES.patterns),
            ('vae.', VAE_NAMES.patterns),
            ('prompt', {'': 'prompt'}),
            ('', {'': ''}),
        )
        for theirs, ours in table.items()
    }

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
        network = GenPerceptNetwork(backbone, neck, vae, prompt_tokens, init_cfg)
        super().__init__(network, test_cfg, data_preprocessor)
        self.train_timesteps = train_timesteps
        self.test_timestep = test_timestep
        self.clip_channels = clip_channels

    def run(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        """Decoded images, about [-1, 1], [B, 3, H, W]."""
        if not self.training:
            return self.network(inputs, self.test_timestep)
        drawn = torch.randint(len(self.train_timesteps), (len(inputs),))
        steps = torch.tensor([self.train_timesteps[i] for i in drawn], device=inputs.device)
        return self.network(inputs, steps)

    def losses(self, outputs: Tensor, truths: dict[str, Tensor]) -> dict[str, Tensor]:
        """'loss_mask': the mean squared error of the decoded channels' mean, of [-1, 1]."""
        return dict(loss_mask=F.mse_loss(outputs.mean(1, keepdim=True), truths['mask'] * 2 - 1))

    def probability(self, outputs: Tensor) -> Tensor:
        """Foreground probability, [B, 1, H, W] in [0, 1]."""
        if self.clip_channels:
            return to_probability(outputs).mean(1, keepdim=True)
        return to_probability(outputs.mean(1, keepdim=True))
