"""Scale-wise conditional injection (SWCI): image latents modulate the skips (paper, Sec. 4.3)."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


class Injector(nn.Module):
    """Injector of one level: `skip * scale(c) + shift(c) + skip`, with c of the image latent.

    The scale and shift convolutions start at zero, so that an untrained injector changes nothing.

    Args:
        latent_channels: Channels of the image latent.
        channels: C, channels of the skip.
    """

    def __init__(self, latent_channels: int, channels: int):
        super().__init__()
        self.condition = nn.Sequential(
            nn.Conv2d(latent_channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.GELU()
        )
        self.scale = nn.Conv2d(channels, channels, 3, padding=1)
        self.shift = nn.Conv2d(channels, channels, 3, padding=1)
        for convolution in (self.scale, self.shift):
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)

    def forward(self, skip: Tensor, latent: Tensor) -> Tensor:
        """Modulates skips [nB, C, h, w] of n halves by the latents [B, 4, h, w] that they share."""
        condition = self.condition(latent)
        scale, shift = self.scale(condition), self.shift(condition)
        halves = skip.shape[0] // latent.shape[0]
        return skip * scale.repeat(halves, 1, 1, 1) + shift.repeat(halves, 1, 1, 1) + skip


@MODELS.register_module()
class ScaleWiseConditionalInjection(BaseModule):
    """Injection of the image latents at 1/2, 1/4, 1/8, ... into the skips of the encoder levels.

    Only the last skip of a level changes; the features passed to the next level do not.

    Args:
        latent_channels: Channels of the image latents.
        channels: Channels of the skips of each injected level, finest first.
        init_cfg: MMEngine's initialisation config.
    """

    def __init__(self, latent_channels: int, channels: Sequence[int], init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.injectors = nn.ModuleList(Injector(latent_channels, c) for c in channels)

    @property
    def num_levels(self) -> int:
        """Number of injected levels, and of latents to inject."""
        return len(self.injectors)

    def forward(
        self, skips: Sequence[Sequence[Tensor]], latents: Sequence[Tensor]
    ) -> list[list[Tensor]]:
        """Returns the skips with the last one of each injected level modulated.

        Args:
            skips: Skips of each encoder level, [nB, C_l, h_l, w_l], finest first.
            latents: Latent of the resized image for each injected level, [B, 4, h_l, w_l].
        """
        injected = [list(level) for level in skips]
        for injector, level, latent in zip(self.injectors, injected, latents, strict=False):
            level[-1] = injector(level[-1], latent)
        return injected
