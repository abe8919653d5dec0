"""Panels that show images, masks and edges."""

import os

import numpy as np
import pytest
from PIL import Image

from mmdiffdis.images import contact_sheet, cutout, overlay, panel
from mmdiffdis.images.panels import row, stack_rows, to_grey
from mmdiffdis.images.values import opacity, to_rgb


@pytest.fixture
def image() -> np.ndarray:
    """uint8 RGB [30, 60, 3], reddish."""
    return np.full((30, 60, 3), (200, 40, 10), np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    """float32 [30, 60], left half foreground."""
    return np.repeat(np.float32([1, 0]), 30)[None].repeat(30, axis=0)


def test_parts_stand_side_by_side_in_order(image, mask):
    shown = panel(image, gt=mask, mask=1 - mask, edge=mask * 0.5, max_side=60)
    assert shown.dtype == np.uint8
    middle = shown[-10]
    tiles = [middle[start : start + 60] for start in range(0, 4 * 66, 66)]
    np.testing.assert_array_equal(tiles[0], image[0])
    np.testing.assert_array_equal(tiles[1][:, 0], np.repeat([255, 0], 30))
    np.testing.assert_array_equal(tiles[2][:, 0], np.repeat([0, 255], 30))
    np.testing.assert_array_equal(tiles[3][:, 0], np.repeat([128, 0], 30))


def test_missing_parts_are_left_out(image, mask):
    assert panel(image, mask=mask, max_side=60).shape[1] == 2 * 60 + 6
    assert panel(mask=mask, max_side=60).shape[1] == 60
    with pytest.raises(ValueError, match='expected at least one of image, gt, mask and edge'):
        panel()


@pytest.mark.parametrize(('height', 'width'), [(30, 60), (90, 40), (1, 3)])
def test_parts_are_scaled_to_max_side(height, width):
    shown = panel(np.zeros((height, width, 3), np.uint8), max_side=120)
    scale = 120 / max(height, width)
    bar = panel(np.zeros((120, 120, 3), np.uint8), max_side=120).shape[0] - 120
    assert shown.shape == (max(1, round(height * scale)) + bar, round(width * scale), 3)


def test_captions_are_written_above(image, mask):
    shown = panel(image, mask=mask, max_side=60)
    bar = shown[: shown.shape[0] - 30]
    assert (bar < 128).any() and (bar[:, 60:66] == 255).all()


def test_parts_have_the_size_of_the_first(image):
    shown = panel(image, mask=np.ones((15, 30), np.float32), max_side=60)
    assert (shown[-30:, 66:] == 255).all()


def test_rows_of_unequal_width_are_filled_with_white(image):
    stacked = stack_rows([image, image[:, :20]], gap=5)
    assert stacked.shape == (2 * 35, 60, 3)
    np.testing.assert_array_equal(stacked[:30], image)
    np.testing.assert_array_equal(stacked[35:65, :20], image[:, :20])
    white = np.ones(stacked.shape[:2], bool)
    white[:30] = white[35:65, :20] = False
    assert (stacked[white] == 255).all()
    np.testing.assert_array_equal(stack_rows([image, image]), np.vstack([image, image]))


def test_long_captions_show_their_ends():
    long = '1#Accessories#1#Bag#3811492306_4ae6'
    bars = [panel(np.zeros((200, 200, 3), np.uint8), max_side=200)[:-200]]
    bars += [
        row({name: np.zeros((200, 200, 3), np.uint8)}, max_side=200)[:-200]
        for name in (f'{long}0', f'{long}1')
    ]
    assert (bars[1] != bars[2]).any()


def test_contact_sheet_keeps_the_shape_of_a_mask_unlike_its_image(image):
    sheet = contact_sheet([('a', image, np.zeros((60, 30), np.uint8))], side=60)
    mask = sheet[26 : 26 + 60, 3 + 60 : 3 + 120]  # below the caption, right of the image
    assert mask.shape[0] == 60 and (mask[:, :30] == 0).all() and (mask[:, 30:] == 255).all()


def test_overlay_tints_the_foreground_half_way(image, mask):
    result = overlay(image, mask)
    np.testing.assert_array_equal(result[:, 30:], image[:, 30:])
    expected = (image[0, 0].astype(float) + (255, 40, 90)) / 2
    np.testing.assert_allclose(result[0, 0], expected, atol=0.6)
    np.testing.assert_array_equal(overlay(image, to_grey(mask)), result)


def test_cutout_has_the_mask_as_alpha(image, mask):
    result = cutout(image, mask * 0.4)
    np.testing.assert_array_equal(result[:, :30, :3], image[:, :30])
    np.testing.assert_array_equal(result[0, :, 3], np.repeat([102, 0], 30))


@pytest.mark.parametrize('level', [0, 0.49 / 255])
def test_cutout_keeps_nothing_of_the_image_where_it_is_transparent(level):
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    mask = np.full((30, 60), level, np.float32)
    mask[:, :30] = 0.8
    result = cutout(image, mask)
    assert result[:, :30, :3].any() and not result[:, 30:].any()


def test_transparency_of_the_image_stays_in_its_cutout():
    """A sticker with a soft outline, which the model sees on white."""
    sticker = np.full((30, 60, 4), (200, 40, 10, 0), np.uint8)
    sticker[..., 3] = np.linspace(0, 300, 60).round().clip(0, 255)
    rgba = Image.fromarray(sticker)
    mask = np.ones((30, 60), np.float32)
    mask[:10], mask[10:20] = 0, 0.6
    result = cutout(to_rgb(rgba), mask, opacity(rgba))
    expected = sticker[..., 3] * mask.astype(np.float64)
    np.testing.assert_allclose(result[..., 3], expected, atol=0.51)
    assert not result[:10].any()
    soft = (sticker[0, :, 3] > 60) & (sticker[0, :, 3] < 255)
    error = np.abs(result[10:, soft, :3].astype(int) - sticker[10:, soft, :3])
    assert error.max() <= 4  # rounding of the image on white
    np.testing.assert_array_equal(result[20:, 59], sticker[20:, 59])


def test_grey_levels_are_rounded_and_clipped():
    levels = np.float32([[-0.1, 0.5 / 255 + 1e-4, 0.999, 1.2]])
    np.testing.assert_array_equal(to_grey(levels), [[0, 1, 255, 255]])


def test_caption_of_a_name_that_is_not_utf_8(image):
    """OpenCV would end the process."""
    shown = row({os.fsdecode(b'caf\xe9'): image}, max_side=120)
    assert (shown[:26] < 128).any()
