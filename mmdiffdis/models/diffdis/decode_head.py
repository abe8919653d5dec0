"""Head: latent loss in training (paper, Eqn. 5), VAE decoding to maps at inference."""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import Autoencoder


def to_probability(maps: Tensor) -> Tensor:
    """Returns decoded maps, about [-1, 1], as probabilities in [0, 1], float32.

    Infinity becomes NaN: clipped, it would pass for a valid mask.
    """
    maps = maps.float() / 2 + 0.5
    return maps.clamp(0, 1).where(maps.isfinite(), torch.nan)


@MODELS.register_module()
class VAEDecodeHead(BaseModule):
    """Latent losses in training, decoded maps at inference.

    Args:
        mask_weight: Weight of the mask's loss.
        edge_weight: Weight of the edge's loss.
        threshold: Foreground probability above which a pixel is foreground.
        vae: Config of an autoencoder of the head's own to decode with, e.g. `TinyAutoencoder`;
            None: the segmentor's.
        init_cfg: MMEngine's initialisation config.
    """

    needs_pixels = False  # whether the loss needs images and ground truth, not their latents alone

    def __init__(
        self,
        mask_weight: float = 1.0,
        edge_weight: float = 1.0,
        threshold: float = 0.5,
        vae: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.weights = dict(mask=mask_weight, edge=edge_weight)
        self.threshold = threshold
        self.vae = MODELS.build(vae) if vae else None

    def decoder_modules(self, vae: Autoencoder) -> list[nn.Module]:
        """Returns the modules that decode, in running order."""
        return (self.vae or vae).decoder_modules()

    def loss(
        self,
        clean: dict[str, Tensor],
        target: dict[str, Tensor],
        images: Tensor | None = None,
        gt: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns weighted mean squared errors of latents: 'loss_mask' and maybe 'loss_edge'.

        Args:
            clean: 'mask' and, with edges, 'edge' -> predicted clean latents, [B, C, h, w].
            target: The same names -> latents of the ground truth.
            images: Images; not needed here.
            gt: Ground truth in pixels; not needed here.
        """
        return {
            f'loss_{name}': self.weights[name] * F.mse_loss(clean[name].float(), target[name])
            for name in clean
        }

    def forward(self, clean: Tensor, vae: Autoencoder) -> Tensor:
        """Decodes latents [N, C, h, w] to the mean of the channels, [N, 1, H, W], not clipped."""
        return (self.vae or vae).decode(clean).mean(dim=1, keepdim=True)

    def predict(self, clean: Tensor, vae: Autoencoder, images: Tensor | None = None) -> Tensor:
        """Decodes latents [N, C, h, w] to probabilities in [0, 1], [N, 1, H, W] float32.

        Args:
            clean: Clean latents.
            vae: The segmentor's autoencoder.
            images: Images [N, 3, H, W] in [-1, 1]; not needed here.
        """
        return to_probability(self(clean, vae))
