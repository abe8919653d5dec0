"""Reading of image files."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from image_files import COLOURS, exif, noise, save
from PIL import Image

from mmdiffdis.images import reading
from mmdiffdis.images.reading import is_decoded_alike, read_bgr, read_image, read_rgb, read_size


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
pages = int(Path('/proc/self/statm').read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[1]) * 10**6
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    read_bgr('large.png')
except ValueError as error:
    print(error)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits memory as Linux does')
@pytest.mark.slow
@pytest.mark.parametrize('spare_megabytes', [10, 100, 230])
def test_png_that_exceeds_the_memory_is_an_error(tmp_path, spare_megabytes):
    """An image of 240 MB; kornia_rs by itself would abort the process or hang."""
    Image.new('RGB', (10000, 8000), (9, 99, 199)).save(tmp_path / 'large.png', compress_level=1)
    printed = subprocess.run(
        [sys.executable, '-c', READ_WITH_LITTLE_MEMORY, str(spare_megabytes)],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "cannot read 'large.png': out of memory" in printed


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
