"""Network of GenPercept, made of DiffDIS's components, without noise and without edges."""

from mmengine.model import BaseModule
from torch import Tensor

from ...diffdis.latent_unet import LatentUNet
from ..layers.conv import pad_to_multiple


class GenPerceptNetwork(LatentUNet, BaseModule):
    """Decodes the U-Net's output for the latent of an image.

    `forward(): image -> vae.encode -> unet -> vae.decode -> decoded image`

    Args:
        backbone: Config of the U-Net.
        neck: Config of its mid block.
        vae: Config of the autoencoder.
        prompt_tokens: L, tokens of the empty prompt's embedding, a buffer of the checkpoint.
        init_cfg: MMEngine's initialisation config.
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
        """Returns decoded images, [B, 3, H, W], about [-1, 1]; the mask is the channels' mean.

        Sides that the VAE cannot divide are padded and the result is cropped; the released code
        crops the image instead.

        Args:
            images: [B, 3, H, W] in [-1, 1].
            timesteps: One timestep for all images, or [B].
        """
        height, width = images.shape[-2:]
        latent = self.vae.encode(pad_to_multiple(images, self.vae.size_divisor))
        (v,) = self.unet(latent[:, :0], [latent], timesteps)
        # v = sqrt(abar) noise - sqrt(1 - abar) z_0; with betas of 1, abar is 0 at every timestep
        return self.vae.decode(-v)[..., :height, :width]
