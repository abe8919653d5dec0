"""Light decoder of one-channel maps with skips of the image."""

from collections.abc import Sequence

from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from .autoencoder import Autoencoder
from .decode_head import VAEDecodeHead

# TAESD limits latents to this magnitude before it decodes them.
LATENT_MAGNITUDE = 3


class ImageSkips(nn.Module):
    """Features of the image at 1/2 and 1/4, to be added to the decoder's.

    The last convolutions start at zero: an untrained decoder ignores the image.

    Args:
        channels: C, width of the decoder.
        width: Width of the features at 1/2; twice as many at 1/4.
    """

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.conv_half = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.conv_quarter = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.out_half = nn.Conv2d(width, channels, 3, padding=1)
        self.out_quarter = nn.Conv2d(2 * width, channels, 3, padding=1)
        for convolution in (self.out_half, self.out_quarter):
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns features of images [B, 3, H, W] at 1/4 and 1/2, [B, C, h, w] each."""
        half = F.relu(self.conv_half(images))
        quarter = F.relu(self.conv_quarter(half))
        return [self.out_quarter(quarter), self.out_half(half)]


@MODELS.register_module()
class MaskDecoder(VAEDecodeHead):
    """Decodes latents to masks and edges by a network of its own, with skips of the image.

    `predict(): latent -> blocks at 1/8 -> + image at 1/4 -> blocks -> + image at 1/2 -> blocks
                -> blocks at 1 -> logit -> sigmoid`
    `loss():    latent loss, binary cross entropy and IoU loss of the decoded maps`

    The network has the shape of TAESD's decoder with one output channel, and can start from its
    weights (`init_cfg=dict(type='TAESDInit')`).

    Args:
        latent_channels: Channels of a latent.
        channels: C, width of the levels.
        num_blocks: Residual blocks of the levels at 1/8, 1/4, 1/2 and 1.
        skip_width: Width of the image features at 1/2; 0: no skips of the image.
        latent_weight: Weight of the latent loss; 0 leaves it out.
        pixel_weight: Weight of the sum of cross entropy and IoU loss.
        mask_weight, edge_weight, threshold: As of `VAEDecodeHead`.
        init_cfg: MMEngine's initialisation config.
    """

    needs_pixels = True

    def __init__(
        self,
        latent_channels: int = 4,
        channels: int = 64,
        num_blocks: Sequence[int] = (3, 3, 3, 1),
        skip_width: int = 16,
        latent_weight: float = 1.0,
        pixel_weight: float = 1.0,
        mask_weight: float = 1.0,
        edge_weight: float = 1.0,
        threshold: float = 0.5,
        init_cfg: dict | None = None,
    ):
        super().__init__(mask_weight, edge_weight, threshold, init_cfg=init_cfg)
        self.latent_weight, self.pixel_weight = latent_weight, pixel_weight
        self.conv_in = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(*(AutoencoderTinyBlock(channels, channels, 'relu') for _ in range(count)))
            for count in num_blocks
        )
        self.upsamples = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            )
            for _ in num_blocks[1:]
        )
        self.conv_out = nn.Conv2d(channels, 1, 3, padding=1)
        self.skips = ImageSkips(channels, skip_width) if skip_width else None

    def decoder_modules(self, vae: Autoencoder) -> list[nn.Module]:
        """Returns the modules that decode, in running order."""
        modules = [self.skips, self.conv_in, *self.levels, *self.upsamples, self.conv_out]
        return [module for module in modules if module is not None]

    def forward(self, clean: Tensor, images: Tensor) -> Tensor:
        """Decodes latents [B, C, h, w] of images [B, 3, H, W] in [-1, 1] to logits [B, 1, H, W]."""
        dtype = self.conv_in.weight.dtype
        skips = [None] * len(self.upsamples)
        if self.skips is not None:
            skips = [*self.skips(images.to(dtype)), None]  # at 1/4 and 1/2, none at 1
        x = (clean / LATENT_MAGNITUDE).tanh() * LATENT_MAGNITUDE
        x = self.levels[0](F.relu(self.conv_in(x.to(dtype))))
        for upsample, skip, level in zip(self.upsamples, skips, self.levels[1:], strict=True):
            x = upsample(x)
            x = level(x if skip is None else x + skip)
        return self.conv_out(x)

    def loss(
        self,
        clean: dict[str, Tensor],
        target: dict[str, Tensor],
        images: Tensor | None = None,
        gt: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns the losses of latents ('loss_mask', ...) and of pixels ('loss_mask_pixels', ...).

        Args:
            clean: 'mask' and, with edges, 'edge' -> predicted clean latents, [B, C, h, w].
            target: The same names -> latents of the ground truth.
            images: Images [B, 3, H, W] in [-1, 1].
            gt: The same names -> ground truth, [B, 1, H, W] in [0, 1].

        Raises:
            ValueError: If there are latents of a `LatentDataset` without images.
        """
        if images is None or gt is None:
            raise ValueError(
                'MaskDecoder got latents without images, but its loss is one of pixels: expected '
                'latents that encode_latents.py wrote for a config with a MaskDecoder, or images'
            )
        losses = {}
        if self.latent_weight:
            latent_losses = super().loss(clean, target)
            losses = {name: self.latent_weight * loss for name, loss in latent_losses.items()}
        for name, latent in clean.items():
            logits = self(latent, images).float()
            pixels = F.binary_cross_entropy_with_logits(logits, gt[name]) + iou_loss(
                logits.sigmoid(), gt[name]
            )
            losses[f'loss_{name}_pixels'] = self.pixel_weight * self.weights[name] * pixels
        return losses

    def predict(self, clean: Tensor, vae: Autoencoder, images: Tensor) -> Tensor:
        """Decodes latents [B, C, h, w] to probabilities in [0, 1], [B, 1, H, W] float32.

        Args:
            clean: Clean latents.
            vae: The segmentor's autoencoder; not needed here.
            images: Images [B, 3, H, W] in [-1, 1].
        """
        return self(clean, images).float().sigmoid()


def iou_loss(probability: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - soft intersection over union of maps [B, 1, H, W] in [0, 1], mean over B."""
    pixels = (1, 2, 3)
    intersection = (probability * target).sum(pixels)
    union = (probability + target).sum(pixels) - intersection
    return (1 - (intersection + 1) / (union + 1)).mean()
