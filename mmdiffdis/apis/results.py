"""Images before and after their prediction, and the boxes in which they are predicted."""

from dataclasses import dataclass, field

import numpy as np

from ..images.panels import cutout

Box = tuple[int, int, int, int]  # left, top, right and bottom
BOX_MARGIN = 0.1  # of a box's sides, around it


@dataclass(frozen=True)
class DISResult:
    """Prediction of one image.

    Attributes:
        image: uint8 [H, W, 3] RGB, the upright image; transparent pixels lie over white.
        mask: float32 [H, W] in [0, 1], foreground probability.
        edge: float32 [H, W] in [0, 1], or None if not asked for or not predicted by the model.
        stem: File name of the image without folder and suffix.
        index: Number of the image among those of one call, from 0.
        opacity: uint8 [H, W], the alpha channel of the image, or None if it is opaque.
        metadata: Colour profile and resolution of the image, as options of Pillow's `save`.
        has_more_frames: Whether the file has frames or pages after this one, the first.
    """

    image: np.ndarray
    mask: np.ndarray
    edge: np.ndarray | None
    stem: str
    index: int = 0
    opacity: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)
    has_more_frames: bool = False

    @property
    def is_empty(self) -> bool:
        """Returns whether nothing was found: no pixel has a probability above 0.5."""
        return not self.mask.max() > 0.5

    def cutout(self) -> np.ndarray:
        """Returns uint8 [H, W, 4] RGBA: the foreground's colours, the mask as alpha channel.

        The alpha channel of an image that has one is multiplied with the mask.
        """
        return cutout(self.image, self.mask, self.opacity)


@dataclass(frozen=True)
class PreparedImage:
    """A decoded image, ready for the network.

    Attributes:
        image: uint8 [H, W, 3] RGB, upright.
        packed: Output of the pipeline.
        label: Name of the image in reports.
        stem: File name of the image without folder and suffix.
        index: Number of the image among those of one call, from 0.
        opacity: As in `DISResult`.
        metadata: As in `DISResult`.
        has_more_frames: As in `DISResult`.
        place: Rows and columns of the part that `packed` was made of.
    """

    image: np.ndarray
    packed: dict
    label: str
    stem: str
    index: int
    opacity: np.ndarray | None
    metadata: dict
    has_more_frames: bool
    place: tuple[slice, slice] = (slice(None), slice(None))


def place_of(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Returns the rows and columns of a box and its margin, inside an image of a shape [H, W, 3].

    Raises:
        ValueError: If the image has no pixel in the box.
    """
    left, top, right, bottom = box
    height, width = shape[:2]
    if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
        raise ValueError(
            f'box {left},{top},{right},{bottom}: the image, {width}x{height}, has no pixel in it; '
            'expected left,top,right,bottom'
        )
    x, y = round(BOX_MARGIN * (right - left)), round(BOX_MARGIN * (bottom - top))
    return slice(max(top - y, 0), bottom + y), slice(max(left - x, 0), right + x)


def put_back(part: np.ndarray | None, image: PreparedImage) -> np.ndarray | None:
    """Returns a mask or edge of the part that was predicted, at the size of its image."""
    if part is None or part.shape == image.image.shape[:2]:
        return part
    whole = np.zeros(image.image.shape[:2], part.dtype)
    whole[image.place] = part
    return whole
