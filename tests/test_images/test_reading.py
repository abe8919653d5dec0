"""Reading of image files."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from image_files import COLOURS, SOFT_MASK, exif, noise, save
from PIL import Image, ImageCms

from mmdiffdis.images import reading
from mmdiffdis.images.reading import (
    decode_file,
    decode_image,
    has_more_frames,
    is_decoded_alike,
    read_bgr,
    read_image,
    read_rgb,
    read_size,
)


@pytest.mark.parametrize('content', [b'', b'no image at all', b'\x89PNG\r\n\x1a\n'])
def test_error_names_a_file_that_is_no_image(tmp_path, content):
    path = tmp_path / 'broken #2.png'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read '.*broken #2\.png' as an image"):
        read_bgr(str(path))


@pytest.mark.parametrize('share', [0.3, 0.98])
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_error_names_a_truncated_file(tmp_path, suffix, share):
    path = tmp_path / f'half.{suffix}'
    save(noise(64, 64), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for read in (read_bgr, read_image):
        with pytest.raises(ValueError, match=rf'half\.{suffix}'):
            read(str(path))


@pytest.mark.parametrize(
    ('name', 'options', 'by_opencv'),
    [
        ('a.jpg', {'quality': 90}, True),
        ('a.jpg', {'quality': 90, 'subsampling': 0, 'progressive': True}, True),
        ('a.png', {}, True),
        ('a.webp', {}, False),
        ('a.bmp', {}, False),
    ],
)
def test_opencv_decodes_the_pixels_that_pillow_decodes(tmp_path, name, options, by_opencv):
    path = save(noise(37, 53), tmp_path / name, **options)
    image = Image.open(path)
    assert is_decoded_alike(image, (tmp_path / name).read_bytes()) is by_opencv
    expected = np.array(image.convert('RGB'))[..., ::-1]
    np.testing.assert_allclose(read_bgr(path).astype(int), expected, atol=1)
    np.testing.assert_array_equal(read_rgb(path)[..., ::-1], read_bgr(path))


READ_WITH_LITTLE_MEMORY = """
import resource
import sys
from pathlib import Path
from mmdiffdis.images import read_bgr
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for megabytes in map(int, sys.argv[1:]):
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        read_bgr('large.png')
    except ValueError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits memory as Linux does')
@pytest.mark.slow
def test_png_that_exceeds_the_memory_is_an_error(tmp_path):
    """An image of 240 MB; kornia_rs by itself would abort the process or hang."""
    Image.new('RGB', (10000, 8000), (9, 99, 199)).save(tmp_path / 'large.png', compress_level=1)
    printed = subprocess.run(
        [sys.executable, '-c', READ_WITH_LITTLE_MEMORY, '230', '100', '10'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert printed.count("cannot read 'large.png': out of memory") == 3


def test_size_limit_is_ours_instead_of_pillows(tmp_path, monkeypatch):
    path = save(Image.new('L', (40, 30), 7), tmp_path / 'huge.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert read_rgb(path).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100, "Pillow's limit stays for others"
    monkeypatch.setattr(reading, 'MAX_PIXELS', 1199)
    with pytest.raises(ValueError, match=r'huge\.png.*40x30 pixels are more than'):
        read_rgb(path)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
@pytest.mark.parametrize(('orientation', 'size'), [(1, (6, 4)), (3, (6, 4)), (6, (4, 6))])
def test_size_is_that_of_the_upright_image(tmp_path, suffix, orientation, size):
    path = save(COLOURS, tmp_path / f'a.{suffix}', exif=exif(orientation))
    assert read_size(path) == size == read_image(path).size


def test_size_of_a_file_that_is_no_image(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'a\.png.*the file is empty'):
        read_size(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_bytes(b'text')
    with pytest.raises(ValueError, match=r'b\.png.*no format that Pillow knows'):
        read_size(tmp_path / 'b.png')


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'CMYK'])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
def test_profile_and_resolution_are_kept(tmp_path, suffix, mode):
    if (mode, suffix) in {('RGBA', 'jpg'), ('CMYK', 'png'), ('CMYK', 'webp')}:
        pytest.skip(f'no {suffix} of mode {mode}')
    profile = PROFILE if mode.startswith('RGB') else PROFILE[:16] + f'{mode:4}'.encode() + b'...'
    image = Image.fromarray(COLOURS).convert(mode)
    path = save(image, tmp_path / f'a.{suffix}', icc_profile=profile, dpi=(300, 300))
    decoded = decode_file(path)
    if mode.startswith('RGB'):
        assert decoded.metadata['icc_profile'] == PROFILE
    else:  # it does not describe the RGB pixels
        assert 'icc_profile' not in decoded.metadata
    if suffix != 'webp':
        np.testing.assert_allclose(decoded.metadata['dpi'], (300, 300), atol=0.1)
    assert decode_image(Image.open(path)).metadata == decoded.metadata


@pytest.mark.parametrize(
    'dpi', [(0, 0), (1, 1), (float('nan'), 72), (1e9, 1e9), (72,), 'x', ('a', 'b')]
)
def test_impossible_resolutions_are_left_out(dpi):
    image = Image.fromarray(COLOURS)
    image.info['dpi'] = dpi
    assert decode_image(image).metadata == {}


def test_opacity_is_decoded(tmp_path):
    soft = np.dstack([COLOURS, SOFT_MASK])
    decoded = decode_file(save(soft, tmp_path / 'a.png', exif=exif(6)))
    np.testing.assert_array_equal(decoded.opacity, np.rot90(SOFT_MASK, -1))
    assert decode_file(save(COLOURS, tmp_path / 'b.png')).opacity is None


@pytest.mark.parametrize('suffix', ['gif', 'webp', 'tif', 'png'])
def test_further_frames_are_noticed(tmp_path, suffix):
    frames = [Image.new('RGB', (6, 4), colour) for colour in ('red', 'green', 'blue')]
    path = save(frames[0], tmp_path / f'a.{suffix}', save_all=True, append_images=frames[1:])
    one = save(frames[0], tmp_path / f'b.{suffix}')
    assert decode_file(path).has_more_frames and has_more_frames(path)
    assert not decode_file(one).has_more_frames and not has_more_frames(one)


def test_depth_maps_of_phones_are_no_frames(tmp_path):
    frames = [Image.new('RGB', (6, 4), colour) for colour in ('red', 'green')]
    path = save(frames[0], tmp_path / 'a.mpo', save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2 and not has_more_frames(path)


@pytest.mark.parametrize(
    ('brand', 'message'),
    [(b'heic', 'HEIC, .*pip install pillow-heif'), (b'avif', r"AVIF: pip install 'pillow>=11\.3'")],
)
def test_error_names_the_plugin_of_a_format(tmp_path, monkeypatch, brand, message):
    """The rest of the file is missing, so that no plugin reads it."""
    monkeypatch.setattr(reading, 'READS_HEIF', False)
    (tmp_path / 'a.heic').write_bytes(b'\0\0\0\x1cftyp' + brand + bytes(16))
    for read in (read_bgr, read_image, read_size):
        with pytest.raises(ValueError, match=rf'a\.heic. as an image \({message}'):
            read(str(tmp_path / 'a.heic'))


def test_heic_is_read_if_the_plugin_is_there(tmp_path):
    pillow_heif = pytest.importorskip('pillow_heif')
    photo = np.full((40, 60, 3), (200, 40, 10), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(photo)).save(tmp_path / 'a.heic', quality=95)
    assert read_size(tmp_path / 'a.heic') == (60, 40)
    np.testing.assert_allclose(read_rgb(str(tmp_path / 'a.heic')), photo, atol=6)
