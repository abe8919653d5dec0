"""What is asked of a clean latent: to be near the truth's, and to become a mask (paper, Eqn. 5)."""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


def to_probability(maps: Tensor) -> Tensor:
    """Decoded maps, about [-1, 1], as probabilities in [0, 1], float32, of the same shape.

    What is not finite becomes NaN: clipped, infinity would pass for a sound mask.
    """
    maps = maps.float() / 2 + 0.5
    return maps.clamp(0, 1).where(maps.isfinite(), torch.nan)


@MODELS.register_module()
class VAEDecodeHead(BaseModule):
    """Latent losses in training, decoded maps at inference.

    Args:
        mask_weight: weight of the mask's loss.
        edge_weight: weight of the edge's loss.
        threshold: a pixel whose foreground probability is above it is foreground.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        mask_weight: float = 1.0,
        edge_weight: float = 1.0,
        threshold: float = 0.5,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.weights = dict(mask=mask_weight, edge=edge_weight)
        self.threshold = threshold

    def loss(self, clean: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted mean squared errors of predicted latents.

        Args:
            clean: 'mask' and, with edges, 'edge' -> predicted clean latents, [B, C, h, w].
            target: the same names -> latents of the truth.

        Returns:
            'loss_mask' and, with edges, 'loss_edge'.
        """
        return {
            f'loss_{name}': self.weights[name] * F.mse_loss(clean[name].float(), target[name])
            for name in clean
        }

    def forward(self, clean: Tensor, vae: nn.Module) -> Tensor:
        """Latents [N, C, h, w] -> decoded maps, the channels' mean, not clipped: [N, 1, H, W]."""
        return vae.decode(clean).mean(dim=1, keepdim=True)

    def predict(self, clean: Tensor, vae: nn.Module) -> Tensor:
        """Latents [N, C, h, w] -> foreground probabilities in [0, 1], [N, 1, H, W] float32."""
        return to_probability(self(clean, vae))
