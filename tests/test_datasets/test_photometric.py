"""Colour jitter against its formulas."""

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image, ImageEnhance

from mmdiffdis.datasets.transforms import DISColorJitter, photometric

SAME = (1.0, 1.0)


@pytest.fixture
def image() -> np.ndarray:
    """uint8 BGR [16, 16, 3]."""
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


def jitter(image: np.ndarray, **factors: float) -> np.ndarray:
    ranges = dict.fromkeys(('brightness', 'contrast', 'color', 'sharpness'), SAME)
    ranges |= {name: (factor, factor) for name, factor in factors.items()}
    return DISColorJitter(**ranges)({'img': image})['img']


def luma(image: np.ndarray) -> np.ndarray:
    """ITU-R 601 grey level of a BGR image."""
    return image.astype(float) @ [0.114, 0.587, 0.299]


def test_factors_of_1_keep_the_image(image):
    np.testing.assert_array_equal(jitter(image), image)


@pytest.mark.parametrize('factor', [0.5, 1.5])
def test_brightness_scales(image, factor):
    expected = np.clip(image * factor, 0, 255)
    np.testing.assert_allclose(jitter(image, brightness=factor), expected, atol=1)


@pytest.mark.parametrize('factor', [0.5, 1.5])
def test_contrast_moves_away_from_the_mean_grey(image, factor):
    mean = luma(image).mean()
    expected = np.clip(mean + factor * (image - mean), 0, 255)
    np.testing.assert_allclose(jitter(image, contrast=factor), expected, atol=2)


@pytest.mark.parametrize('factor', [0.0, 2.0])
def test_color_moves_away_from_the_pixels_grey(image, factor):
    grey = luma(image)[..., None]
    expected = np.clip(grey + factor * (image - grey), 0, 255)
    np.testing.assert_allclose(jitter(image, color=factor), expected, atol=2)


def test_sharpness_moves_away_from_the_smoothed_image(image):
    weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(float), (3, 3), axis=(0, 1))
    smooth = (windows * weights).sum(axis=(-2, -1))
    inner = image[1:-1, 1:-1]
    expected = np.clip(smooth + 3.0 * (inner - smooth), 0, 255)
    np.testing.assert_allclose(jitter(image, sharpness=3.0)[1:-1, 1:-1], expected, atol=3)


def test_levels_are_those_of_pillow_on_average(image):
    """Pillow truncates after each of the four steps; rounding would differ by 2 levels."""
    factors = {'brightness': 0.83, 'contrast': 0.91, 'color': 0.77, 'sharpness': 1.37}
    expected = Image.fromarray(image[..., ::-1])
    for name, factor in factors.items():
        expected = getattr(ImageEnhance, name.title())(expected).enhance(factor)
    difference = jitter(image, **factors)[1:-1, 1:-1].astype(int)
    difference -= np.array(expected)[1:-1, 1:-1, ::-1]
    assert np.abs(difference).max() <= 3 and abs(difference.mean()) < 0.4


@pytest.mark.parametrize('pixels', [1, 48, 80, 10**9])
def test_strips_leave_no_seams(image, monkeypatch, pixels):
    factors = {'brightness': 0.83, 'contrast': 1.2, 'color': 0.77, 'sharpness': 2.0}
    expected = jitter(image, **factors)
    monkeypatch.setattr(photometric, '_STRIP_PIXELS', pixels)
    np.testing.assert_array_equal(jitter(image, **factors), expected)


def test_input_is_not_changed_and_may_be_a_mirrored_view(image):
    before = image.copy()
    mirrored = jitter(image[:, ::-1], brightness=0.8, sharpness=2.0)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mirrored[:, ::-1], jitter(image, brightness=0.8, sharpness=2.0))


def test_factors_follow_numpys_seed(image):
    def draw(seed: int) -> np.ndarray:
        np.random.seed(seed)
        return DISColorJitter()({'img': image})['img']

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_invalid_range():
    with pytest.raises(ValueError, match=r'contrast=\(2, 1\): expected 0 <= lowest'):
        DISColorJitter(contrast=(2, 1))


def test_pepper_is_black_or_white_in_a_share_of_the_pixels():
    np.random.seed(0)
    image = np.full((50, 80, 3), 100, np.uint8)
    peppered = TRANSFORMS.build(dict(type='RandomPepper', share=0.1))(dict(img=image))['img']
    changed = peppered[(peppered != 100).any(axis=2)]
    assert 300 < len(changed) <= 400  # some pixels are sampled twice
    assert {tuple(pixel) for pixel in changed} == {(0, 0, 0), (255, 255, 255)}
    assert (image == 100).all()


def test_share_of_pepper_above_1_is_refused():
    with pytest.raises(ValueError, match=r'share=1\.5: expected .* in \[0, 1\]'):
        TRANSFORMS.build(dict(type='RandomPepper', share=1.5))
