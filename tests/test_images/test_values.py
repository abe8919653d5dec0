"""RGB images and soft masks from files of every mode."""

import numpy as np
import pytest
from image_files import SOFT_MASK, save
from PIL import Image

from mmdiffdis.images.reading import read_image
from mmdiffdis.images.values import is_zero_and_one, opacity, to_alpha, to_rgb


def test_grey_16_bit_is_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = save(levels, tmp_path / 'deep.png')
    expected = np.array([[0, 1, 128, 255]], np.uint8)
    np.testing.assert_array_equal(to_rgb(read_image(path)), np.dstack([expected] * 3))


def test_transparent_pixels_lie_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (0, 255, 128)
    rgb = to_rgb(read_image(save(rgba, tmp_path / 'a.png')))
    np.testing.assert_array_equal(rgb[0, :2], [[255, 255, 255], [200, 0, 0]])
    expected = (np.array([200, 0, 0]) * 128 + np.array([255] * 3) * 127) / 255
    np.testing.assert_allclose(rgb[0, 2], expected, atol=1)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), 'L').convert('P')
    image.putpalette([9, 9, 9, 50, 60, 70])
    path = save(image, tmp_path / 'a.png', transparency=0)
    np.testing.assert_array_equal(to_rgb(read_image(path)), [[[255] * 3, [50, 60, 70]]])


@pytest.mark.parametrize('mode', ['L', 'LA', '1', 'P', 'CMYK', 'RGBA'])
def test_every_mode_gives_the_same_rgb_image(tmp_path, mode):
    grey = np.zeros((8, 8), np.uint8)
    grey[2:6, 2:6] = 255
    suffix = 'tif' if mode == 'CMYK' else 'png'
    path = save(Image.fromarray(grey).convert('RGB').convert(mode), tmp_path / f'a.{suffix}')
    np.testing.assert_array_equal(to_rgb(read_image(path)), np.dstack([grey] * 3))


def test_cmyk_jpeg(tmp_path):
    path = save(Image.new('CMYK', (8, 8), (0, 255, 255, 0)), tmp_path / 'red.jpg', quality=100)
    np.testing.assert_allclose(to_rgb(read_image(path))[4, 4], [255, 0, 0], atol=6)


def as_files(soft: np.ndarray) -> dict[str, Image.Image]:
    """File name -> the same mask in another mode."""
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
def test_soft_mask_is_the_same_from_every_lossless_format(tmp_path, name):
    alpha = to_alpha(read_image(save(as_files(SOFT_MASK)[name], tmp_path / name)))
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, SOFT_MASK / 255, atol=1e-6)


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
    labels = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    if mode == '1':
        image = Image.fromarray(labels.astype(bool))
    elif mode.startswith('P'):  # DAVIS and VOC colour their indices
        image = Image.fromarray(labels, 'L').convert('P')
        image.putpalette([0, 0, 0, 1, 1, 1] if mode == 'P_grey' else [0, 0, 0, 128, 0, 0])
    elif mode.startswith('I'):
        image = Image.fromarray(labels.astype(np.uint16 if mode == 'I;16' else np.int32))
    else:
        image = Image.fromarray(labels).convert(mode)
    suffix = 'tif' if mode == 'I' else 'png'
    alpha = to_alpha(read_image(save(image, tmp_path / f'a.{suffix}')))
    np.testing.assert_array_equal(alpha, labels)


def test_ones_in_a_jpeg_are_noise_not_foreground(tmp_path):
    path = save(Image.new('L', (16, 16), 1), tmp_path / 'a.jpg', quality=100)
    assert np.array(read_image(path)).max() == 1
    assert to_alpha(read_image(path)).max() < 0.01


@pytest.mark.parametrize('full_scale', [0, -1])
def test_full_scale_below_one_is_refused(full_scale):
    with pytest.raises(ValueError, match=f'full_scale={full_scale}: expected the grey level'):
        to_alpha(Image.fromarray(SOFT_MASK), full_scale)


@pytest.mark.parametrize('level', [0, 255])
def test_empty_and_full_masks(tmp_path, level):
    alpha = to_alpha(read_image(save(Image.new('L', (3, 2), level), tmp_path / 'a.png')))
    np.testing.assert_array_equal(alpha, np.full((2, 3), level / 255, np.float32))


def rgba(alpha: int | np.ndarray, colour: tuple[int, int, int] = (200, 40, 10)) -> Image.Image:
    """A cut-out of 6x4 pixels."""
    pixels = np.full((4, 6, 4), (*colour, 0), np.uint8)
    pixels[..., 3] = alpha
    return Image.fromarray(pixels)


@pytest.mark.parametrize('colour', [(200, 40, 10), (90, 90, 90)], ids=['coloured', 'grey'])
@pytest.mark.parametrize('alpha', [0, 1, 3, 128, 254])
@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif'])
def test_constant_alpha_channel_is_the_mask(tmp_path, alpha, colour, suffix):
    path = save(rgba(alpha, colour), tmp_path / f'a.{suffix}', lossless=True)
    mask = read_image(path)
    np.testing.assert_allclose(to_alpha(mask), alpha / 255, atol=1e-6)
    assert not is_zero_and_one(mask)


def test_opaque_alpha_channel_is_no_mask(tmp_path):
    grey = Image.merge('RGBA', [Image.fromarray(SOFT_MASK)] * 3 + [Image.new('L', (6, 4), 255)])
    np.testing.assert_allclose(
        to_alpha(read_image(save(grey, tmp_path / 'a.png'))), SOFT_MASK / 255, atol=1e-6
    )
    with pytest.raises(ValueError, match='it is coloured'):
        to_alpha(read_image(save(rgba(255), tmp_path / 'b.png')))


@pytest.mark.parametrize('mode', ['L', 'RGB', 'P'])
def test_transparent_colour_of_a_grey_mask_leaves_its_soft_levels(tmp_path, mode):
    transparency = (0, 0, 0) if mode == 'RGB' else 0
    image = Image.fromarray(SOFT_MASK).convert(mode)
    path = save(image, tmp_path / 'a.png', transparency=transparency)
    assert Image.open(path).has_transparency_data
    np.testing.assert_allclose(to_alpha(read_image(path)), SOFT_MASK / 255, atol=1e-6)


def test_transparent_colour_of_a_palette_is_the_ground_around_a_cutout(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), 'L').convert('P')
    image.putpalette([255, 255, 255, 200, 40, 10, 90, 90, 200])
    path = save(image, tmp_path / 'a.png', transparency=0)
    np.testing.assert_array_equal(to_alpha(read_image(path)), [[0, 1, 1]])


def test_opacity_is_none_for_opaque_images():
    assert opacity(rgba(255)) is None and opacity(Image.new('RGB', (6, 4))) is None
    np.testing.assert_array_equal(opacity(rgba(SOFT_MASK)), SOFT_MASK)
