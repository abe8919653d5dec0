"""Results of an image and its mask: clean masks, crops, sizes, backgrounds and files."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mmdiffdis.images.finishing import finish, refine_mask, save, subject_box
from mmdiffdis.images.options import FORMATS, ResultOptions
from mmdiffdis.images.panels import cutout, to_grey


@pytest.fixture
def image() -> np.ndarray:
    """uint8 RGB [40, 60, 3] of noise."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    """float32 [40, 60]: a block with soft outline and a hole, a smaller one, and faint levels."""
    hard = np.zeros((40, 60))
    hard[8:32, 10:40] = 1
    hard[15:22, 18:26] = 0
    hard[12:20, 50:56] = 1
    soft = ndimage.gaussian_filter(hard, 1)
    soft[(soft <= 2 / 255)] = 2 / 255
    return soft.astype(np.float32)


def test_threshold_makes_two_levels(mask):
    result = refine_mask(mask, threshold=0.7)
    np.testing.assert_array_equal(result, (mask > 0.7).astype(np.float32))


def test_clean_keeps_the_largest_piece_without_holes_and_its_soft_outline(mask):
    result = refine_mask(mask, clean=True)
    assert not result[:, 46:].any() and (result[10:30, 12:38] > 0.95).all()
    outline = mask[8:32, 9]
    assert 0.1 < outline[12] < 0.5 and not result[0].any()
    np.testing.assert_array_equal(result[8:32, 9], outline)
    hard = refine_mask(mask, threshold=0.5, clean=True)
    largest = ndimage.label(mask > 0.5)[0] == 1
    np.testing.assert_array_equal(hard, ndimage.binary_fill_holes(largest))


@pytest.mark.parametrize('level', [0, 0.4, 1])
def test_clean_keeps_masks_of_one_level(level):
    mask = np.full((9, 12), level, np.float32)
    np.testing.assert_array_equal(refine_mask(mask, clean=True), mask)


@pytest.mark.parametrize(('margin', 'expected'), [(0, (5, 3, 9, 7)), (4, (1, 0, 12, 8))])
def test_levels_1_and_2_are_no_part_of_the_subject(margin, expected):
    mask = np.zeros((8, 12), np.float32)
    mask[1:, 1:] = 2 / 255
    mask[3:7, 5:9] = 3 / 255
    assert subject_box(mask, margin) == expected
    assert subject_box(mask * 0, margin) == (0, 0, 12, 8), 'nothing found: the whole image'


@pytest.mark.parametrize('kind', ['mask', 'cutout', 'overlay', 'edge'])
def test_all_types_are_cut_to_the_same_box(image, mask, kind):
    opacity = np.full(mask.shape, 255, np.uint8)
    opacity[:20] = 0
    whole = finish(image, mask, ResultOptions(kind), opacity, mask)
    cropped = finish(image, mask, ResultOptions(kind, crop=1), opacity, mask)
    box = subject_box(np.where(opacity > 0, mask, 0), 1)
    assert box[1] == 19
    np.testing.assert_array_equal(np.array(cropped), np.array(whole)[19 : box[3], box[0] : box[2]])


def test_size_keeps_the_ratio_and_pads(image, mask):
    result = finish(image, mask, ResultOptions('cutout', size=(120, 100)))
    assert result.size == (120, 100)
    alpha = np.array(result)[..., 3]
    assert not alpha[:10].any() and not alpha[90:].any()
    scaled = Image.fromarray(to_grey(mask)).resize((120, 80), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(alpha[10:90], np.array(scaled), atol=1)


def test_cutouts_are_scaled_without_the_black_of_transparent_pixels(mask):
    red = np.full((40, 60, 3), (200, 40, 10), np.uint8)
    result = np.array(finish(red, mask, ResultOptions('cutout', size=(31, 23))))
    shown = result[..., 3] > 20
    assert np.abs(result[shown, :3].astype(int) - (200, 40, 10)).max() <= 10


def test_colour_is_mixed_by_the_alpha_channel(image, mask):
    """Opacities: that of the image times the mask."""
    opacity = np.full(mask.shape, 128, np.uint8)
    result = np.array(finish(image, mask, ResultOptions('cutout', background='#ff8800'), opacity))
    assert result.shape == (40, 60, 3)
    rgba = cutout(image, mask, opacity).astype(float)
    alpha = rgba[..., 3:] / 255
    assert alpha.max() < 0.51
    expected = rgba[..., :3] * alpha + np.array((255, 136, 0)) * (1 - alpha)
    np.testing.assert_allclose(result, expected, atol=1.01)


def test_file_covers_the_background(image, mask, tmp_path):
    halves = np.zeros((100, 400, 3), np.uint8)
    halves[:, 200:] = 255
    Image.fromarray(halves).save(tmp_path / 'halves.png')
    options = ResultOptions('cutout', background=str(tmp_path / 'halves.png'))
    result = np.array(finish(image, np.zeros_like(mask), options))
    assert not result[:, :28].any() and (result[:, 32:] == 255).all()


def test_blurred_background_is_in_place_and_has_nothing_of_the_subject(mask):
    image = np.zeros((400, 600, 3), np.uint8)
    image[:, 300:, 2] = 200  # blue on the right
    subject = np.zeros((400, 600), np.float32)
    subject[100:300, 200:300] = 1
    image[subject > 0] = (255, 255, 0)
    blurred = np.array(finish(image, subject, ResultOptions('cutout', background='blur')))
    assert (blurred[subject > 0] == (255, 255, 0)).all()
    assert (blurred[subject == 0][:, :2] <= 2).all(), 'no halo of yellow'
    assert blurred[50, :200, 2].max() <= 2 and blurred[50, 400:, 2].min() >= 198
    options = ResultOptions('cutout', background='blur', crop=50, size=(600, 300))
    cropped = np.array(finish(image, subject, options))
    # The box, 200 x 300, is in the middle; the image is continued on both sides.
    np.testing.assert_allclose(cropped[5, 200:400], blurred[55, 150:350], atol=3)
    assert cropped[5, 50, 2] <= 2 and cropped[5, 550, 2] >= 198


def test_image_without_background_can_be_blurred(image):
    options = ResultOptions('cutout', background='blur')
    result = finish(image, np.ones((40, 60), np.float32), options)
    np.testing.assert_array_equal(np.array(result), image)


@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize('kind', ['mask', 'cutout'])
def test_files_have_their_format_and_keep_the_pixels(image, mask, format, kind):
    background = 'white' if (kind, format) == ('cutout', 'jpg') else None
    options = ResultOptions(kind, format, background=background)
    result = finish(image, mask, options)
    file = io.BytesIO()
    save(result, file, options, {'dpi': (300, 300)})
    read = Image.open(file)
    assert read.format == {'jpg': 'JPEG'}.get(format, format.upper())
    read = np.array(read.convert(result.mode)).astype(int)
    shown = np.array(result)
    if format == 'jpg':
        expected = io.BytesIO()
        result.save(expected, 'JPEG', quality=90)
        np.testing.assert_array_equal(read, np.array(Image.open(expected)))
    elif kind == 'cutout':
        np.testing.assert_array_equal(read[..., 3], shown[..., 3])
        np.testing.assert_array_equal(read[shown[..., 3] > 0], shown[shown[..., 3] > 0])
    else:
        np.testing.assert_array_equal(read, shown)


@pytest.mark.parametrize('format', ['jpg', 'webp'])
def test_quality_decides_the_size_of_files(image, mask, format):
    sizes = []
    for quality in (20, 80):
        options = ResultOptions('overlay', format, quality)
        file = io.BytesIO()
        save(finish(image, mask, options), file, options)
        sizes.append(len(file.getvalue()))
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(type='masks'), "type 'masks': expected one of"),
        (dict(format='bmp'), "format 'bmp': expected one of"),
        (dict(quality=50), 'quality in png, which loses nothing'),
        (dict(format='webp', quality=0), 'quality 0: expected 1 to 100'),
        (dict(background='red'), 'background of type mask'),
        (dict(type='cutout', background='rad'), "background 'rad': expected blur, an opaque"),
        (dict(type='cutout', background='#ff000080'), 'expected blur, an opaque colour'),
        (dict(type='panel', crop=0), 'crop of a panel'),
        (dict(type='panel', size=(9, 9)), 'size of a panel'),
        (dict(type='edge', threshold=0.5), 'threshold of type edge'),
        (dict(type='edge', clean=True), 'clean of type edge'),
        (dict(threshold=1.0), 'threshold 1.0: expected a level between 0 and 1'),
        (dict(crop=-1), 'crop -1: expected a margin'),
        (dict(size=(0, 5)), r'size \(0, 5\): expected a width'),
        (dict(type='cutout', format='jpg'), 'jpg has no transparency: choose another format, or'),
    ],
)
def test_options_that_are_impossible_or_change_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResultOptions(**options)
