"""Images and masks: reading, pixel values, panels."""

from .foreground import foreground_colour
from .panels import contact_sheet, cutout, overlay, panel
from .reading import read_bgr, read_image, read_rgb, read_size
from .values import to_alpha, to_rgb

__all__ = [
    'contact_sheet',
    'cutout',
    'foreground_colour',
    'overlay',
    'panel',
    'read_bgr',
    'read_image',
    'read_rgb',
    'read_size',
    'to_alpha',
    'to_rgb',
]
