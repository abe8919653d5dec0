"""The autoencoder alone: reconstruction of masks (paper, Table 1), and training of a VAE."""

import torch
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ...structures import GT_FIELDS, set_prediction, stack_gt


@MODELS.register_module()
class VAEReconstructor(BaseSegmentor):
    """Reconstructs images, masks and edges in training, and the ground-truth masks in testing.

    Its scores are the upper bound of any model that predicts this autoencoder's latents.

    Args:
        vae: Config of the autoencoder; `frozen=False` to train it.
        decode_head: Config of the head that decodes masks; None: `VAEDecodeHead`. With a frozen
            autoencoder, the head alone is trained, by its own loss.
        size: (H, W) to which ground-truth masks are resized before encoding in testing: the
            network's input size.
        image_weight: Weight of the errors of images; that of masks and edges is 1.
        kl_weight: Weight of the latents' divergence from the unit normal, which keeps them small
            and smooth.
        data_preprocessor: Config of the preprocessor.
        init_cfg: MMEngine's initialisation config.
    """

    def __init__(
        self,
        vae: dict,
        size: tuple[int, int],
        image_weight: float = 1.0,
        kl_weight: float = 1e-6,
        decode_head: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.vae = MODELS.build(vae)
        self.decode_head = MODELS.build(decode_head or dict(type='VAEDecodeHead'))
        self.size = tuple(size)
        self.image_weight = image_weight
        self.kl_weight = kl_weight

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Returns absolute errors of the reconstructions of images, masks and edges.

        With a frozen autoencoder: the losses of the head, of the latents of masks and edges.

        Returns:
            'loss_image', 'loss_mask', 'loss_edge', 'loss_kl', and 'latent_std', the standard
            deviation of the latents; its inverse is the scaling factor for a diffusion model.
        """
        if self.vae.frozen:
            return self._head_loss(inputs, data_samples)
        gt_images = [_as_image(name, data_samples) for name in ('mask', 'edge')]
        x = torch.cat([inputs, *gt_images])  # [3B, 3, H, W]
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

    def _head_loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        gt = {name: stack_gt(name, data_samples) for name in GT_FIELDS}
        latents = {name: self.vae.encode(_as_image(name, data_samples)) for name in GT_FIELDS}
        return self.decode_head.loss(latents, latents, inputs, gt)

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample]) -> list[SegDataSample]:
        """Returns the samples with their reconstructed ground-truth masks as predictions."""
        for image, sample in zip(inputs, data_samples, strict=True):
            gt = _as_image('mask', [sample])
            resized = F.interpolate(gt, self.size, mode='bilinear', antialias=True)
            image = F.interpolate(image[None], self.size, mode='bilinear', antialias=True)
            mask = self.decode_head.predict(self.vae.encode(resized), self.vae, image)
            mask = F.interpolate(mask, gt.shape[-2:], mode='bilinear', antialias=True)[0]
            set_prediction(sample, mask.clamp(0, 1), self.decode_head.threshold)
        return data_samples

    def cost_parts(self) -> dict[str, list[nn.Module]]:
        """Returns the modules of each part of a prediction, in running order."""
        return {
            'encode (VAE encoder)': self.vae.encoder_modules(),
            'decode (VAE decoder)': self.decode_head.decoder_modules(self.vae),
        }

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Loads autoencoder and head of a diffusion model's checkpoint as well."""
        parts = (f'{prefix}vae.', f'{prefix}decode_head.')
        own = {key: state_dict[key] for key in state_dict if key.startswith(parts)}
        super()._load_from_state_dict(own, prefix, *args)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Returns scaled latents of images, [B, C, h, w]."""
        return self.vae.encode(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: list[SegDataSample]) -> Tensor:
        """Returns reconstructed images, [B, 3, H, W]."""
        return self._forward(inputs)

    def _forward(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> Tensor:
        return self.vae.decode(self.vae.encode(inputs))


def _as_image(name: str, data_samples: list[SegDataSample]) -> Tensor:
    """Returns masks or edges as images for the autoencoder, [B, 3, H, W] in [-1, 1]."""
    return stack_gt(name, data_samples).repeat(1, 3, 1, 1) * 2 - 1
