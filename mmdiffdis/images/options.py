"""Options of what is made of an image and its mask (standard library and Pillow's colours only).

Command lines read this file without importing the package, which takes seconds.
"""

from dataclasses import dataclass
from pathlib import Path

TYPES = ('mask', 'cutout', 'overlay', 'edge', 'panel')
FORMATS = ('png', 'webp', 'jpg', 'tiff')  # also the suffixes of their files
BLUR = 'blur'


@dataclass(frozen=True)
class ResultOptions:
    """Options of the result that `finish` makes of an image and its mask.

    Attributes:
        type: One of `TYPES`.
        format: One of `FORMATS`. All but jpg lose nothing, webp only without `quality`.
        quality: Of jpg and webp, 1 to 100; None: 90 for jpg, and lossless webp.
        background: What a cut-out is laid on: 'blur', its own image out of focus; a colour, such as
            'white' or '#ff8800'; or the path of an image, which is scaled and cut to fit. None: it
            stays transparent.
        crop: Pixels around the subject, to which the result is cut; None: it is not cut.
        threshold: Level between 0 and 1; the mask becomes 1 above it, and 0 elsewhere. None: it
            stays soft.
        clean: Keep the largest piece of the mask, and fill its holes.
        size: Width and height of the result, into which it is scaled and centred. What remains is
            transparent in cut-outs, or else black.

    Raises:
        ValueError: If an option is impossible, or changes nothing beside the others.
    """

    type: str = 'mask'
    format: str = 'png'
    quality: int | None = None
    background: str | None = None
    crop: int | None = None
    threshold: float | None = None
    clean: bool = False
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name, known in (('type', TYPES), ('format', FORMATS)):
            if getattr(self, name) not in known:
                raise ValueError(f'{name} {getattr(self, name)!r}: expected one of {known}')
        self._check_values()
        changes_nothing = {
            f'quality in {self.format}, which loses nothing (jpg and webp have one)': (
                self.quality is not None and self.format in ('png', 'tiff')
            ),
            f'background of type {self.type} (cutout has one)': (
                self.background is not None and self.type != 'cutout'
            ),
            'crop of a panel, which shows the whole image': (
                self.crop is not None and self.type == 'panel'
            ),
            'size of a panel, which has its own': self.size is not None and self.type == 'panel',
            'threshold of type edge': self.threshold is not None and self.type == 'edge',
            'clean of type edge': self.clean and self.type == 'edge',
        }
        for option, is_unused in changes_nothing.items():
            if is_unused:
                raise ValueError(f'nothing is changed by {option}: leave it out')
        if (self.type, self.format, self.background) == ('cutout', 'jpg', None):
            raise ValueError(
                'jpg has no transparency: choose another format, or a background for the cut-out'
            )

    def _check_values(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f'quality {self.quality}: expected 1 to 100')
        if self.crop is not None and self.crop < 0:
            raise ValueError(f'crop {self.crop}: expected a margin of 0 pixels or more')
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f'threshold {self.threshold}: expected a level between 0 and 1')
        if self.size is not None and not min(self.size) > 0:
            raise ValueError(f'size {self.size}: expected a width and height of 1 pixel or more')
        if self.background_file is not None and not self.background_file.is_file():
            raise ValueError(
                f"background '{self.background}': expected {BLUR}, an opaque colour (white, "
                '#ff8800, ...) or the file of an image'
            )

    @property
    def level(self) -> float:
        """Returns the level above which a pixel of a mask is foreground."""
        return self.threshold or 0.5

    @property
    def colour(self) -> tuple[int, int, int] | None:
        """Returns the background's colour, or None if it is none."""
        return None if self.background in (None, BLUR) else parse_colour(self.background)

    @property
    def background_file(self) -> Path | None:
        """Returns the path of the image that is the background, or None."""
        is_file = self.background not in (None, BLUR) and self.colour is None
        return Path(self.background) if is_file else None


def parse_colour(text: str) -> tuple[int, int, int] | None:
    """Returns an opaque colour, or None if the text is none."""
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        return None
    return colour if len(colour) == 3 else None  # a fourth number is an opacity
