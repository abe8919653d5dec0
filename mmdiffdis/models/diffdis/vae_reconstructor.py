"""The autoencoder alone: how well it brings masks back (paper, Table 1), and how to train one."""

import torch
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ...structures import set_prediction, stack_truth
from .decode_head import VAEDecodeHead


@MODELS.register_module()
class VAEReconstructor(BaseSegmentor):
    """Reconstructs: in training images, masks and edges, in testing the true masks.

    The upper bound of any model that predicts this autoencoder's latents.

    Args:
        vae: config of the autoencoder; `frozen=False` to train it.
        size: (H, W) that true masks are brought to before they are encoded when testing, the
            network's input size.
        image_weight: weight of the images' errors, those of masks and edges being 1.
        kl_weight: weight of the latents' divergence from the unit normal, which keeps them small
            and smooth.
        data_preprocessor: config of the preprocessor.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        vae: dict,
        size: tuple[int, int],
        image_weight: float = 1.0,
        kl_weight: float = 1e-6,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.vae = MODELS.build(vae)
        self.decode_head = VAEDecodeHead()
        self.size = tuple(size)
        self.image_weight = image_weight
        self.kl_weight = kl_weight

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Absolute errors of the reconstructions of images, masks and edges, [B, 3, H, W] each.

        Returns:
            'loss_image', 'loss_mask', 'loss_edge', 'loss_kl', and the standard deviation of the
            latents, 'latent_std', whose inverse is the scaling factor to give a diffusion model.
        """
        truths = [_as_image(name, data_samples) for name in ('mask', 'edge')]
        x = torch.cat([inputs, *truths])
        posterior = self.vae.autoencoder.encode(x).latent_dist
        errors = (self.vae.autoencoder.decode(posterior.sample()).sample - x).abs()
        image, mask, edge = errors.chunk(3)
        return dict(
            loss_image=self.image_weight * image.mean(),
            loss_mask=mask.mean(),
            loss_edge=edge.mean(),
            loss_kl=self.kl_weight * posterior.kl().mean(),
            latent_std=posterior.mode().std().detach(),
        )

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample]) -> list[SegDataSample]:
        """The samples with their reconstructed true masks as `seg_logits`, [1, H, W] in [0, 1]."""
        for sample in data_samples:
            truth = _as_image('mask', [sample])
            resized = F.interpolate(truth, self.size, mode='bilinear', antialias=True)
            mask = self.decode_head.predict(self.vae.encode(resized), self.vae)
            mask = F.interpolate(mask, truth.shape[-2:], mode='bilinear', antialias=True)[0]
            set_prediction(sample, mask.clamp(0, 1), self.decode_head.threshold)
        return data_samples

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Takes a diffusion model's checkpoint, too, and of it the autoencoder."""
        own = {key: state_dict[key] for key in state_dict if key.startswith(f'{prefix}vae.')}
        super()._load_from_state_dict(own, prefix, *args)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Scaled latents of images, [B, C, h, w]."""
        return self.vae.encode(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: list[SegDataSample]) -> Tensor:
        """Reconstructed images, [B, 3, H, W]."""
        return self._forward(inputs)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.vae.decode(self.vae.encode(inputs))


def _as_image(name: str, data_samples: list[SegDataSample]) -> Tensor:
    """Masks or edges as images for the autoencoder, [B, 3, H, W] in [-1, 1]."""
    return stack_truth(name, data_samples).repeat(1, 3, 1, 1) * 2 - 1
