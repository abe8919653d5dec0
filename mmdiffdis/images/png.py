"""Fast decoding of plain PNG files."""

import threading

import numpy as np
from kornia_rs.io import decode_image_png_u8
from PIL import Image

_COLOUR_TYPES = {'RGB': 'rgb', 'L': 'mono'}  # Pillow's name -> kornia_rs' name
_DECODER_BYTES = 2**25  # upper bound of what the decoder needs in addition to the pixels


def decode_plain_png(image: Image.Image, content: bytes) -> np.ndarray | None:
    """Decodes an opaque, upright 8-bit RGB or grey PNG as Pillow does, but faster.

    A photograph takes half of the time of Pillow and OpenCV, a mask a fifth.

    Args:
        image: The opened, not yet decoded file.
        content: The file's bytes.

    Returns:
        uint8 [H, W, 3] RGB or [H, W] grey. None for other formats, for damaged files and outside
        the main thread, where the caller uses Pillow or OpenCV: their errors say what is wrong,
        while kornia_rs holds the GIL and aborts the process when out of memory.
    """
    if not is_plain_png(image, content):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        needed = np.empty(image.width * image.height * len(image.mode) + _DECODER_BYTES, np.uint8)
        del needed  # raises MemoryError here instead of aborting in kornia_rs
        pixels = decode_image_png_u8(content, image.size[::-1], _COLOUR_TYPES[image.mode])
    except Exception:  # the only class that kornia_rs raises
        return None
    return pixels if image.mode == 'RGB' else pixels[..., 0]


def is_plain_png(image: Image.Image, content: bytes) -> bool:
    """Returns whether a file is an undamaged, opaque, upright 8-bit RGB or grey PNG.

    The orientation may be stored behind the pixels. So there must be nothing between the last chunk
    of pixels (length, name, data, checksum) and the 12 bytes of IEND.
    """
    if image.format != 'PNG' or image.mode not in _COLOUR_TYPES:
        return False
    bits_per_channel = content[24]
    if bits_per_channel != 8 or {'transparency', 'exif', 'xmp'} & image.info.keys():
        return False
    name = content.rfind(b'IDAT')
    length = int.from_bytes(content[name - 4 : name], 'big')
    return name + 4 + length + 4 + 12 == len(content)
