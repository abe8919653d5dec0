"""Scale-wise conditional injection: the image's latents modulate the skips (paper, Sec. 4.3)."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn


class Injector(nn.Module):
    """One injector head: ``skip * scale(c) + shift(c) + skip`` for a condition latent c.

    The scale and shift convolutions start at zero, so an untrained injector changes nothing.
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
        """Skips of n halves [nB, C, h, w], the latent they share [B, 4, h, w] -> [nB, C, h, w]."""
        condition = self.condition(latent)
        scale, shift = self.scale(condition), self.shift(condition)
        halves = len(skip) // len(latent)
        return skip * scale.repeat(halves, 1, 1, 1) + shift.repeat(halves, 1, 1, 1) + skip


@MODELS.register_module()
class ScaleWiseConditionalInjection(BaseModule):
    """Injects the latents of the image at 1/2, 1/4, 1/8, ... into the skips of the encoder levels.

    Only the last skip of a level changes, never the running feature.

    Args:
        latent_channels: channels of the image latents.
        channels: channels of the skips, one number per injected level, finest first.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(self, latent_channels: int, channels: Sequence[int], init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.injectors = nn.ModuleList(Injector(latent_channels, c) for c in channels)

    @property
    def num_levels(self) -> int:
        """How many latents :meth:`forward` takes, each half the size of the one before."""
        return len(self.injectors)

    def forward(
        self, skips: Sequence[Sequence[Tensor]], latents: Sequence[Tensor]
    ) -> list[list[Tensor]]:
        """The skips with the last one of each injected level modulated.

        Args:
            skips: per encoder level its skip tensors, [nB, C_l, h_l, w_l].
            latents: per injected level the latent of the resized image, [B, 4, h_l, w_l].

        Returns:
            New lists of the same structure.
        """
        injected = [list(level) for level in skips]
        for injector, level, latent in zip(self.injectors, injected, latents, strict=False):
            level[-1] = injector(level[-1], latent)
        return injected
