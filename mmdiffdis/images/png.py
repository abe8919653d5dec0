"""Fast decoding of plain PNG files."""

import threading

import numpy as np
from kornia_rs.io import decode_image_png_u8
from PIL import Image

# Pillow's mode of pictures that are decoded faster elsewhere -> kornia_rs' name of it.
_PLAIN_MODES = {'RGB': 'rgb', 'L': 'mono'}

_DECODER_BYTES = 2**25  # more than it takes beside the pixels


def is_plain_png(image: Image.Image, content: bytes) -> bool:
    """Whether the file is an opaque, upright 8-bit PNG, grey or in colours, with its end in place.

    An orientation may stand behind the pixels; so between the last of their chunks (length, name,
    data, checksum) and the 12 bytes of IEND there must be nothing else.
    """
    if image.format != 'PNG' or image.mode not in _PLAIN_MODES:
        return False
    bits_per_channel = content[24]
    if bits_per_channel != 8 or {'transparency', 'exif', 'xmp'} & image.info.keys():
        return False
    name = content.rfind(b'IDAT')
    length = int.from_bytes(content[name - 4 : name], 'big')
    return name + 4 + length + 4 + 12 == len(content)


def decode_plain_png(image: Image.Image, content: bytes) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB or [H, W] grey of a plain PNG, as Pillow decodes it, or None.

    In half of Pillow's and OpenCV's time for a photograph, in a fifth for a mask. None, and so left
    to them: any other file; damaged ones, for they say what is wrong; and what is read in a thread,
    for kornia_rs lets no other one run, and stops the process for good when memory runs out, which
    others may use up meanwhile.
    """
    if not is_plain_png(image, content):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        needed = np.empty(image.width * image.height * len(image.mode) + _DECODER_BYTES, np.uint8)
        del needed  # it can be had
        pixels = decode_image_png_u8(content, image.size[::-1], _PLAIN_MODES[image.mode])
    except Exception:  # kornia_rs raises no more special one
        return None
    return pixels if image.mode == 'RGB' else pixels[..., 0]
