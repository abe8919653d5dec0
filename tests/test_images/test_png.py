"""Fast decoding of plain PNG files."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import COLOURS, exif, move_exif_behind_pixels, noise, save
from PIL import Image

from mmdiffdis.images import png
from mmdiffdis.images.png import decode_plain_png
from mmdiffdis.images.reading import read_bgr, read_image, read_rgb


@pytest.mark.parametrize(
    ('mode', 'options', 'is_plain'),
    [
        ('RGB', {}, True),
        ('L', {}, True),
        ('L', {'compress_level': 0}, True),
        ('L', {'transparency': 7}, False),
        ('RGB', {'transparency': (1, 2, 3)}, False),
        ('RGBA', {}, False),
        ('LA', {}, False),
        ('P', {}, False),
        ('1', {}, False),
        ('I;16', {}, False),
    ],
)
@pytest.mark.parametrize('size', [(53, 37), (1, 1), (1, 9)])
def test_pixels_are_those_that_pillow_decodes(tmp_path, mode, options, is_plain, size):
    image = Image.fromarray(noise(*size[::-1], channels=4), 'RGBA')
    image = image.convert('L').convert(mode) if mode == 'I;16' else image.convert(mode)
    path = save(image, tmp_path / 'a.png', **options)
    with Image.open(path) as opened:
        pixels = decode_plain_png(opened, (tmp_path / 'a.png').read_bytes())
        assert (pixels is not None) is is_plain
        if is_plain:
            np.testing.assert_array_equal(pixels, np.array(opened))
            np.testing.assert_array_equal(read_rgb(path), np.array(opened.convert('RGB')))
        read = read_image(path)
        assert (read.mode, read.format) == (opened.mode, 'PNG')
        np.testing.assert_array_equal(np.array(read), np.array(opened))


def test_four_bits_are_left_to_pillow(tmp_path):
    """The file is built here because not every Pillow writes fewer than eight bits."""
    levels = np.random.default_rng(0).integers(0, 16, (9, 6), np.uint8)
    rows = levels[:, ::2] << 4 | levels[:, 1::2]
    content = b'\x89PNG\r\n\x1a\n'
    for name, data in (
        (b'IHDR', struct.pack('>IIBBBBB', 6, 9, 4, 0, 0, 0, 0)),
        (b'IDAT', zlib.compress(b''.join(b'\0' + row.tobytes() for row in rows))),
        (b'IEND', b''),
    ):
        content += struct.pack('>I', len(data)) + name + data
        content += struct.pack('>I', zlib.crc32(name + data))
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with Image.open(path) as opened:
        assert decode_plain_png(opened, content) is None
    np.testing.assert_array_equal(np.array(read_image(str(path))), levels * 17)


@pytest.fixture
def calls(monkeypatch) -> list:
    """Arguments of each call of kornia_rs' decoder, which is replaced."""
    calls = []
    monkeypatch.setattr(png, 'decode_image_png_u8', lambda *args: calls.append(args))
    return calls


def test_threads_use_decoders_that_release_the_gil(tmp_path, calls):
    pixels = noise(37, 53)
    path = save(pixels, tmp_path / 'a.png')
    with ThreadPoolExecutor(1) as pool:
        for read in (read_rgb, read_image):
            np.testing.assert_array_equal(np.array(pool.submit(read, path).result()), pixels)
    assert not calls


def test_decoder_is_not_called_without_memory(tmp_path, monkeypatch, calls):
    """It would abort the process, see `test_png_that_exceeds_the_memory_is_an_error`."""
    path = save(noise(37, 53), tmp_path / 'a.png')

    def exhausted(*args):
        raise MemoryError

    with Image.open(path) as opened:
        monkeypatch.setattr(png.np, 'empty', exhausted)
        assert decode_plain_png(opened, (tmp_path / 'a.png').read_bytes()) is None
    assert not calls


def test_error_names_a_file_with_a_wrong_checksum(tmp_path):
    path = tmp_path / 'flipped.png'
    save(noise(64, 64, channels=1), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for read in (read_bgr, read_image):
        with pytest.raises(ValueError, match=r'flipped\.png'):
            read(str(path))


def test_orientation_behind_the_pixels_is_applied(tmp_path):
    path = tmp_path / 'late.png'
    save(COLOURS, path, exif=exif(6))
    move_exif_behind_pixels(path)
    np.testing.assert_array_equal(read_rgb(str(path)), np.rot90(COLOURS, -1))
