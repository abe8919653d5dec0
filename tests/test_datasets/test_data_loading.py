"""Pictures and masks of every kind, and the edge target."""

import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmdiffdis.datasets.transforms import GenerateDISEdge, LoadDISAnnotations, LoadDISImage
from mmdiffdis.images import png, reading
from mmdiffdis.images.png import decode_plain_png
from mmdiffdis.images.reading import _is_plain, read_bgr, read_image, read_rgb, read_size
from mmdiffdis.images.values import to_alpha, to_rgb

ORIENTATION = 0x0112


def save(image: Image.Image, path, **options) -> str:
    image.save(path, **options)
    return str(path)


@pytest.fixture
def picture() -> np.ndarray:
    """uint8 RGB [4, 6, 3], no two pixels alike."""
    return np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3


@pytest.fixture
def soft() -> np.ndarray:
    """uint8 [4, 6] with 0, 255 and levels between."""
    return np.linspace(0, 255, 24).round().astype(np.uint8).reshape(4, 6)


# ---- images


def test_image_is_bgr_with_its_shapes(tmp_path, picture):
    path = save(Image.fromarray(picture), tmp_path / 'a #1.png')
    results = TRANSFORMS.build({'type': 'LoadDISImage'})({'img_path': path})
    np.testing.assert_array_equal(results['img'], picture[..., ::-1])
    assert results['img'].flags.c_contiguous
    assert results['img_shape'] == results['ori_shape'] == (4, 6)


@pytest.mark.parametrize(
    ('orientation', 'upright'),
    [
        (3, lambda p: p[::-1, ::-1]),
        (6, lambda p: np.rot90(p, -1)),
        (8, lambda p: np.rot90(p, 1)),
        (2, lambda p: p[:, ::-1]),
    ],
)
@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_exif_orientation_of_images_and_masks(
    tmp_path, picture, soft, orientation, upright, suffix
):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image_path = save(Image.fromarray(picture), tmp_path / f'image.{suffix}', exif=exif)
    mask_path = save(Image.fromarray(soft), tmp_path / f'mask.{suffix}', exif=exif)
    results = LoadDISImage()({'img_path': image_path, 'seg_map_path': mask_path})
    results = LoadDISAnnotations()(results)
    np.testing.assert_array_equal(results['img'], upright(picture)[..., ::-1])
    np.testing.assert_allclose(results['gt_alpha'], upright(soft) / 255, atol=1e-6)


def test_grey_16_bit_is_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = save(Image.fromarray(levels), tmp_path / 'deep.png')
    expected = np.array([[0, 1, 128, 255]], np.uint8)
    np.testing.assert_array_equal(to_rgb(read_image(path)), np.dstack([expected] * 3))


def test_transparent_pixels_lie_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 255, 128)
    rgb = to_rgb(read_image(save(Image.fromarray(rgba), tmp_path / 'a.png')))
    np.testing.assert_array_equal(rgb[0, :2], [[255, 255, 255], [200, 0, 0]])
    expected = (np.array([200, 0, 0]) * 128 + np.array([255] * 3) * 127) / 255
    np.testing.assert_allclose(rgb[0, 2], expected, atol=1)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), 'L').convert('P')
    image.putpalette([9, 9, 9, 50, 60, 70])
    path = save(image, tmp_path / 'a.png', transparency=0)
    np.testing.assert_array_equal(to_rgb(read_image(path)), [[[255] * 3, [50, 60, 70]]])


@pytest.mark.parametrize('mode', ['L', 'LA', '1', 'P', 'CMYK', 'RGBA'])
def test_every_mode_gives_three_channels_of_the_same_picture(tmp_path, mode):
    grey = np.zeros((8, 8), np.uint8)
    grey[2:6, 2:6] = 255
    suffix = 'tif' if mode == 'CMYK' else 'png'
    path = save(Image.fromarray(grey).convert('RGB').convert(mode), tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(to_rgb(read_image(path)), np.dstack([grey] * 3))


def test_cmyk_jpeg(tmp_path):
    path = save(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), tmp_path / 'red.jpg', quality=100)
    np.testing.assert_allclose(to_rgb(read_image(path))[4, 4], [255, 0, 0], atol=6)


@pytest.mark.parametrize('content', [b'', b'no picture at all', b'\x89PNG\r\n\x1a\n'])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / 'broken #2.png'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read '.*broken #2\.png' as an image"):
        LoadDISImage()({'img_path': str(path)})


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_truncated_file_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f'half.{suffix}'
    save(Image.fromarray(noise), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=rf'half\.{suffix}'):
        LoadDISImage()({'img_path': str(path)})


@pytest.mark.parametrize('keep', [0.3, 0.98])
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_fast_decoders_fill_up_no_truncated_files(tmp_path, suffix, keep):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f'half.{suffix}'
    save(Image.fromarray(noise), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    for read in (read_bgr, read_image):
        with pytest.raises(ValueError, match=rf'half\.{suffix}'):
            read(str(path))


def test_png_of_a_wrong_checksum_is_named(tmp_path):
    path = tmp_path / 'flipped.png'
    save(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for read in (read_bgr, read_image):
        with pytest.raises(ValueError, match=r'flipped\.png'):
            read(str(path))


@pytest.mark.parametrize(
    ('name', 'options', 'plain'),
    [
        ('a.jpg', {'quality': 90}, True),
        ('a.jpg', {'quality': 90, 'subsampling': 0, 'progressive': True}, True),
        ('a.png', {}, True),
        ('a.webp', {}, False),
        ('a.bmp', {}, False),
    ],
)
def test_what_opencv_decodes_is_what_pillow_decodes(tmp_path, name, options, plain):
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    path = save(Image.fromarray(noise), tmp_path / name, **options)
    image = Image.open(path)
    assert _is_plain(image, (tmp_path / name).read_bytes()) is plain
    expected = np.array(image.convert('RGB'))[..., ::-1]
    np.testing.assert_allclose(read_bgr(path).astype(int), expected, atol=1)
    np.testing.assert_array_equal(read_rgb(path)[..., ::-1], read_bgr(path))


@pytest.mark.parametrize(
    ('mode', 'options', 'plain'),
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
def test_plain_pngs_have_the_pixels_that_pillow_decodes(tmp_path, mode, options, plain, size):
    noise = np.random.default_rng(0).integers(0, 255, (*size[::-1], 4), np.uint8)
    picture = Image.fromarray(noise, 'RGBA')
    picture = picture.convert('L').convert(mode) if mode == 'I;16' else picture.convert(mode)
    path = save(picture, tmp_path / 'a.png', **options)
    with Image.open(path) as opened:
        pixels = decode_plain_png(opened, (tmp_path / 'a.png').read_bytes())
        assert (pixels is not None) is plain
        if plain:
            np.testing.assert_array_equal(pixels, np.array(opened))
            np.testing.assert_array_equal(read_rgb(path), np.array(opened.convert('RGB')))
        read = read_image(path)
        assert (read.mode, read.format) == (opened.mode, 'PNG')
        np.testing.assert_array_equal(np.array(read), np.array(opened))


def test_png_of_four_bits_is_left_to_pillow(tmp_path):
    """Written by hand, for not every Pillow writes fewer than eight."""
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


def test_png_in_a_thread_is_left_to_decoders_that_let_others_run(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    path = save(Image.fromarray(noise), tmp_path / 'a.png')

    def decode(*args):
        raise AssertionError('in a thread')

    monkeypatch.setattr(png, 'decode_image_png_u8', decode)
    with ThreadPoolExecutor(1) as pool:
        for read in (read_rgb, read_image):
            np.testing.assert_array_equal(np.array(pool.submit(read, path).result()), noise)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits memory as Linux does')
@pytest.mark.parametrize('spare', [10, 100, 230])
def test_png_that_exceeds_the_memory_is_an_error(tmp_path, spare):
    """Of 240 MB. kornia_rs by itself would stop the process, and never end it."""
    Image.new('RGB', (10000, 8000), (9, 99, 199)).save(tmp_path / 'large.png', compress_level=1)
    program = f"""
import resource
from pathlib import Path
from mmdiffdis.images import read_bgr
pages = int(Path('/proc/self/statm').read_text().split()[0])
limit = pages * resource.getpagesize() + {spare} * 10**6
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    read_bgr('large.png')
except ValueError as error:
    print(error)
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    printed = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "cannot read 'large.png': the memory does not suffice" in printed


def test_orientation_behind_the_pixels_of_a_png(tmp_path, picture):
    """As some tools write it: Pillow reads it only after decoding."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / 'late.png'
    save(Image.fromarray(picture), path, exif=exif)
    content = path.read_bytes()
    start = content.index(b'eXIf') - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], 'big')
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    np.testing.assert_array_equal(read_rgb(str(path)), np.rot90(picture, -1))


def test_larger_than_pillows_limit_but_not_than_ours(tmp_path, monkeypatch):
    path = save(Image.new('L', (40, 30), 7), tmp_path / 'huge.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    assert read_rgb(path).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 100, "Pillow's limit stays for others"
    monkeypatch.setattr(reading, 'MAX_PIXELS', 1199)
    with pytest.raises(ValueError, match=r'huge\.png.*40x30 pixels are more than'):
        read_rgb(path)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
@pytest.mark.parametrize(('orientation', 'size'), [(1, (6, 4)), (3, (6, 4)), (6, (4, 6))])
def test_size_is_that_of_the_upright_picture(tmp_path, picture, suffix, orientation, size):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(Image.fromarray(picture), tmp_path / f'a.{suffix}', exif=exif)
    assert read_size(path) == size == read_image(path).size


def test_size_of_what_is_no_image(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'a\.png.*the file is empty'):
        read_size(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_bytes(b'text')
    with pytest.raises(ValueError, match=r'b\.png.*no format that Pillow knows'):
        read_size(tmp_path / 'b.png')


def test_missing_file_stays_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.png'):
        LoadDISImage()({'img_path': str(tmp_path / 'gone.png')})


def test_floating_point_picture_outside_its_range(tmp_path):
    path = save(Image.fromarray(np.full((2, 2), 7, np.float32)), tmp_path / 'float.tif')
    with pytest.raises(ValueError, match=r"float\.tif'.*\[7, 7\], expected \[0, 1\]"):
        LoadDISImage()({'img_path': path})


# ---- masks


def as_files(soft: np.ndarray) -> dict[str, Image.Image]:
    opaque = np.full_like(soft, 255)
    colour = np.dstack([np.full_like(soft, 90), np.full_like(soft, 10), np.full_like(soft, 40)])
    return {
        'L.png': Image.fromarray(soft),
        'RGB.png': Image.fromarray(np.dstack([soft] * 3)),
        'RGBA_opaque.png': Image.fromarray(np.dstack([soft, soft, soft, opaque])),
        'RGBA_alpha.png': Image.fromarray(np.dstack([colour, soft])),
        'LA_alpha.png': Image.fromarray(np.dstack([opaque, soft]), 'LA'),
        'P_grey.png': Image.fromarray(soft).convert('P'),
        'I16.png': Image.fromarray(soft.astype(np.uint16) * 257),
        'I16_of_8_bits.png': Image.fromarray(soft.astype(np.uint16)),
        'F.tif': Image.fromarray(soft.astype(np.float32) / 255),
        'L.tif': Image.fromarray(soft),
    }


@pytest.mark.parametrize('name', as_files(np.zeros((1, 1), np.uint8)))
def test_soft_mask_is_the_same_from_every_lossless_format(tmp_path, soft, name):
    alpha = to_alpha(read_image(save(as_files(soft)[name], tmp_path / name)))
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, soft / 255, atol=1e-6)


@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
def test_jpeg_mask(tmp_path, mode):
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    image = Image.fromarray(mask).convert('RGB').convert(mode)
    alpha = to_alpha(read_image(save(image, tmp_path / 'a.jpg', quality=80)))
    np.testing.assert_allclose(alpha, mask / 255, atol=0.1)
    np.testing.assert_array_equal(alpha > 0.5, mask > 127)


@pytest.mark.parametrize('mode', ['1', 'L', 'I;16', 'P_grey', 'P_colour', 'RGB', 'I'])
def test_masks_of_zeros_and_ones(tmp_path, mode):
    truth = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    if mode == '1':
        image = Image.fromarray(truth.astype(bool))
    elif mode.startswith('P'):  # DAVIS and VOC paint their indices
        image = Image.fromarray(truth, 'L').convert('P')
        image.putpalette([0, 0, 0, 1, 1, 1] if mode == 'P_grey' else [0, 0, 0, 128, 0, 0])
    elif mode.startswith('I'):
        image = Image.fromarray(truth.astype(np.uint16 if mode == 'I;16' else np.int32))
    else:
        image = Image.fromarray(truth).convert(mode)
    suffix = 'tif' if mode == 'I' else 'png'
    alpha = to_alpha(read_image(save(image, tmp_path / f'a.{suffix}')))
    np.testing.assert_array_equal(alpha, truth)


def test_ones_in_a_jpeg_are_noise_not_foreground(tmp_path):
    path = save(Image.new('L', (16, 16), 1), tmp_path / 'a.jpg', quality=100)
    assert np.array(read_image(path)).max() == 1
    assert to_alpha(read_image(path)).max() < 0.01


@pytest.mark.parametrize('level', [0, 255])
def test_empty_and_full_masks(tmp_path, level):
    alpha = to_alpha(read_image(save(Image.new('L', (3, 2), level), tmp_path / 'a.png')))
    np.testing.assert_array_equal(alpha, np.full((2, 3), level / 255, np.float32))


def annotate(mask: Image.Image, folder, shape=(4, 6), **options) -> dict:
    path = save(mask, folder / 'mask.png')
    results = {'img_path': 'image.jpg', 'seg_map_path': path, 'ori_shape': shape, 'seg_fields': []}
    return LoadDISAnnotations(**options)(results)


def test_annotations_have_a_soft_and_a_hard_field(tmp_path, soft):
    results = annotate(Image.fromarray(soft), tmp_path)
    np.testing.assert_array_equal(results['gt_seg_map'], results['gt_alpha'] > 0.5)
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map', 'gt_alpha']


@pytest.mark.parametrize(
    'mask',
    [
        Image.fromarray(np.array([[0, 64, 127, 128, 200, 255]], np.uint8)),
        Image.fromarray(np.array([[0, 1, 0, 1, 1, 0]], np.uint8)),  # 1 is foreground
        Image.fromarray(np.array([[0, 300, 32767, 32768, 60000, 65535]], np.uint16)),
        Image.fromarray(np.array([[False, True] * 3])),
    ],
    ids=['8 bits', 'zero and one', '16 bits', 'boolean'],
)
def test_bytes_are_the_floats_rounded(tmp_path, mask):
    floats = annotate(mask, tmp_path, (1, 6))
    bytes_ = annotate(mask, tmp_path, (1, 6), dtype='uint8')
    assert bytes_['gt_alpha'].dtype == np.uint8
    np.testing.assert_array_equal(bytes_['gt_alpha'], np.rint(floats['gt_alpha'] * 255))
    np.testing.assert_array_equal(bytes_['gt_seg_map'], floats['gt_seg_map'])


def test_full_scale_overrules_for_bytes(tmp_path):
    labels = np.array([[0, 2, 4]], np.uint8)
    results = annotate(Image.fromarray(labels), tmp_path, (1, 3), full_scale=4, dtype='uint8')
    np.testing.assert_array_equal(results['gt_alpha'], [[0, 128, 255]])


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="`dtype` is 'float16', expected 'float32' or 'uint8'"):
        LoadDISAnnotations(dtype='float16')


def test_seg_fields_of_shared_results_do_not_grow(tmp_path, soft):
    shared = []
    path = save(Image.fromarray(soft), tmp_path / 'mask.png')
    for _ in range(2):
        results = {'seg_map_path': path, 'ori_shape': (4, 6), 'seg_fields': shared}
        assert LoadDISAnnotations()(results)['seg_fields'] == ['gt_seg_map', 'gt_alpha']
    assert shared == []


def test_full_scale_overrules(tmp_path):
    labels = np.array([[0, 2, 4]], np.uint8)
    results = annotate(Image.fromarray(labels), tmp_path, (1, 3), full_scale=4)
    np.testing.assert_array_equal(results['gt_alpha'], [[0, 0.5, 1]])


def test_class_indices_are_refused(tmp_path):
    labels = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    with pytest.raises(ValueError, match=r"mask\.png'.*largest value is 2.*class indices"):
        annotate(labels, tmp_path, (1, 3))


def test_coloured_masks_are_refused(tmp_path):
    red = Image.new('RGB', (6, 4), (255, 0, 0))
    with pytest.raises(ValueError, match=r"mask\.png'.*coloured \(channels differ by up to 255"):
        annotate(red, tmp_path)


def test_palette_of_several_colours_is_refused(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), 'L').convert('P')
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(ValueError, match='coloured'):
        annotate(image, tmp_path, (1, 3))


def test_size_mismatch_names_both_files_and_sizes(tmp_path, soft):
    with pytest.raises(ValueError, match=r"mask\.png' is 6x4 pixels, .*'image\.jpg' is 4x6"):
        annotate(Image.fromarray(soft), tmp_path, shape=(6, 4))


def test_truth_loaded_after_resizing_is_compared_with_the_original_size(tmp_path, picture, soft):
    paths = {
        'img_path': save(Image.fromarray(picture), tmp_path / 'i.png'),
        'seg_map_path': save(Image.fromarray(soft), tmp_path / 'm.png'),
    }
    results = LoadDISImage()(paths)
    results = TRANSFORMS.build({'type': 'DISResize', 'scale': (8, 8)})(results)
    results = LoadDISAnnotations()(results)
    assert results['img'].shape == (8, 8, 3)
    assert results['gt_alpha'].shape == (4, 6)


# ---- edges


def test_edge_is_dilation_minus_erosion():
    alpha = np.zeros((20, 20), np.float32)
    alpha[5:15, 5:15] = 1
    results = GenerateDISEdge()({'gt_alpha': alpha, 'seg_fields': ['gt_alpha']})
    # a 5x5 window around an edge pixel sees both sides: two pixels outside, two inside
    expected = np.zeros((20, 20), np.float32)
    expected[3:17, 3:17] = 1
    expected[7:13, 7:13] = 0
    np.testing.assert_array_equal(results['gt_edge_map'], expected)
    assert results['gt_edge_map'].dtype == np.float32
    assert results['seg_fields'] == ['gt_alpha', 'gt_edge_map']
    in_bytes = GenerateDISEdge()({'gt_alpha': np.uint8(alpha * 255)})['gt_edge_map']
    assert in_bytes.dtype == np.uint8
    np.testing.assert_array_equal(in_bytes, np.uint8(expected * 255))


@pytest.mark.parametrize(('step', 'is_edge'), [(5, False), (6, True)])
def test_edge_threshold_is_six_grey_levels(step, is_edge):
    alpha = np.zeros((9, 9), np.float32)
    alpha[:, 5:] = step / 255
    assert GenerateDISEdge()({'gt_alpha': alpha})['gt_edge_map'].any() == is_edge


def test_edge_needs_the_mask():
    with pytest.raises(ValueError, match="no 'gt_alpha'; put LoadDISAnnotations before"):
        GenerateDISEdge()({'seg_fields': []})
