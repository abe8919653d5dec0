"""Foreground colour estimation, on images mixed of two known layers."""

import cv2
import numpy as np
import pytest

from mmdiffdis.images import cutout, foreground
from mmdiffdis.images.foreground import foreground_colour


@pytest.fixture
def layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image, mask, foreground): a soft disc of smooth colours in front of a wall of others."""
    height, width = 90, 120
    y, x = np.mgrid[:height, :width].astype(np.float32)
    front = np.stack([200 - x / 2, 40 + y, 60 + x / 4], axis=2)
    back = np.stack([20 + x / 3, 180 - y / 2, 230 - x / 4], axis=2)
    mask = cv2.GaussianBlur((np.hypot(x - 60, y - 45) < 25).astype(np.float32), (0, 0), 4)
    mask = np.where(mask < 0.01, 0, np.where(mask > 0.99, 1, mask))
    mixed = mask[..., None] * front + (1 - mask[..., None]) * back
    return np.rint(mixed).astype(np.uint8), mask, front


def test_colour_of_the_background_is_removed(layers):
    image, mask, front = layers
    colours = foreground_colour(image, mask)
    soft = (mask > 0.1) & (mask < 1)
    halo = np.abs(image[soft] - front[soft]).mean()
    assert np.abs(colours[soft] - front[soft]).mean() < halo / 5


def test_pure_pixels_keep_their_colours(layers):
    image, mask, _ = layers
    colours = foreground_colour(image, mask)
    pure = (mask == 0) | (mask == 1)
    np.testing.assert_array_equal(colours[pure], image[pure])
    hard = (mask > 0.5).astype(np.float32)
    np.testing.assert_array_equal(foreground_colour(image, hard), image)


def test_tiles_leave_no_seams(layers, monkeypatch):
    image, mask, _ = layers
    whole = foreground_colour(image, mask).astype(int)
    monkeypatch.setattr(foreground, '_TILE', 17)
    # no more than rounding
    assert np.abs(foreground_colour(image, mask) - whole).max() <= 1


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (2, 3)])
def test_images_smaller_than_the_filters(size):
    image = np.full((*size, 3), 90, np.uint8)
    colours = foreground_colour(image, np.full(size, 0.5, np.float32))
    assert np.abs(colours.astype(int) - image).max() <= 1


def test_cutout_of_an_8_bit_mask_equals_that_of_a_float_mask(layers):
    image, mask, _ = layers
    levels = np.rint(mask * 255).astype(np.uint8)
    expected = cutout(image, levels.astype(np.float32) / 255)
    np.testing.assert_array_equal(cutout(image, levels), expected)
