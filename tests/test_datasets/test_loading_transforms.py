"""Loading of images and soft masks, and the edge target."""

import numpy as np
import pytest
from image_files import COLOURS, SOFT_MASK, exif, save
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmdiffdis.datasets.transforms import GenerateDISEdge, LoadDISAnnotations, LoadDISImage


def test_image_is_bgr_with_its_shapes(tmp_path):
    path = save(COLOURS, tmp_path / 'a #1.png')
    results = TRANSFORMS.build({'type': 'LoadDISImage'})({'img_path': path})
    np.testing.assert_array_equal(results['img'], COLOURS[..., ::-1])
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
def test_exif_orientation_of_images_and_masks(tmp_path, orientation, upright, suffix):
    tags = exif(orientation)
    image_path = save(COLOURS, tmp_path / f'image.{suffix}', exif=tags)
    mask_path = save(SOFT_MASK, tmp_path / f'mask.{suffix}', exif=tags)
    results = LoadDISImage()({'img_path': image_path, 'seg_map_path': mask_path})
    results = LoadDISAnnotations()(results)
    np.testing.assert_array_equal(results['img'], upright(COLOURS)[..., ::-1])
    np.testing.assert_allclose(results['gt_alpha'], upright(SOFT_MASK) / 255, atol=1e-6)


def test_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='gone.png'):
        LoadDISImage()({'img_path': str(tmp_path / 'gone.png')})


def test_floating_point_image_outside_its_range(tmp_path):
    path = save(np.full((2, 2), 7, np.float32), tmp_path / 'float.tif')
    with pytest.raises(ValueError, match=r"float\.tif'.*\[7, 7\], expected \[0, 1\]"):
        LoadDISImage()({'img_path': path})


def load_mask(mask: np.ndarray | Image.Image, folder, shape=(4, 6), **options) -> dict:
    path = save(mask, folder / 'mask.png')
    results = {'img_path': 'image.jpg', 'seg_map_path': path, 'ori_shape': shape, 'seg_fields': []}
    return LoadDISAnnotations(**options)(results)


def test_annotations_have_a_soft_and_a_hard_field(tmp_path):
    results = load_mask(SOFT_MASK, tmp_path)
    np.testing.assert_array_equal(results['gt_seg_map'], results['gt_alpha'] > 0.5)
    assert results['gt_seg_map'].dtype == np.uint8
    assert results['seg_fields'] == ['gt_seg_map', 'gt_alpha']


@pytest.mark.parametrize(
    'mask',
    [
        np.array([[0, 64, 127, 128, 200, 255]], np.uint8),
        np.array([[0, 1, 0, 1, 1, 0]], np.uint8),  # 1 is foreground
        np.array([[0, 300, 32767, 32768, 60000, 65535]], np.uint16),
        np.array([[False, True] * 3]),
    ],
    ids=['8 bits', 'zero and one', '16 bits', 'boolean'],
)
def test_bytes_are_rounded_floats(tmp_path, mask):
    floats = load_mask(mask, tmp_path, (1, 6))
    bytes_ = load_mask(mask, tmp_path, (1, 6), dtype='uint8')
    assert bytes_['gt_alpha'].dtype == np.uint8
    np.testing.assert_array_equal(bytes_['gt_alpha'], np.rint(floats['gt_alpha'] * 255))
    np.testing.assert_array_equal(bytes_['gt_seg_map'], floats['gt_seg_map'])


def test_full_scale_of_bytes(tmp_path):
    labels = np.array([[0, 2, 4]], np.uint8)
    results = load_mask(labels, tmp_path, (1, 3), full_scale=4, dtype='uint8')
    np.testing.assert_array_equal(results['gt_alpha'], [[0, 128, 255]])


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="dtype='float16': expected 'float32' or 'uint8'"):
        LoadDISAnnotations(dtype='float16')


def test_seg_fields_of_shared_results_do_not_grow(tmp_path):
    shared = []
    path = save(SOFT_MASK, tmp_path / 'mask.png')
    for _ in range(2):
        results = {'seg_map_path': path, 'ori_shape': (4, 6), 'seg_fields': shared}
        assert LoadDISAnnotations()(results)['seg_fields'] == ['gt_seg_map', 'gt_alpha']
    assert shared == []


def test_full_scale_of_floats(tmp_path):
    labels = np.array([[0, 2, 4]], np.uint8)
    results = load_mask(labels, tmp_path, (1, 3), full_scale=4)
    np.testing.assert_array_equal(results['gt_alpha'], [[0, 0.5, 1]])


def test_class_indices_are_refused(tmp_path):
    labels = np.array([[0, 1, 2]], np.uint8)
    with pytest.raises(ValueError, match=r"mask\.png'.*largest value is 2.*class indices"):
        load_mask(labels, tmp_path, (1, 3))


def test_coloured_masks_are_refused(tmp_path):
    red = Image.new('RGB', (6, 4), (255, 0, 0))
    with pytest.raises(ValueError, match=r"mask\.png'.*coloured \(channels differ by up to 255"):
        load_mask(red, tmp_path)


def test_palette_of_several_colours_is_refused(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), 'L').convert('P')
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(ValueError, match='coloured'):
        load_mask(image, tmp_path, (1, 3))


def test_size_mismatch_names_both_files_and_sizes(tmp_path):
    with pytest.raises(ValueError, match=r"mask\.png' is 6x4 pixels, .*'image\.jpg' is 4x6"):
        load_mask(SOFT_MASK, tmp_path, shape=(6, 4))


def test_mask_loaded_after_resizing_keeps_the_original_size(tmp_path):
    paths = {
        'img_path': save(COLOURS, tmp_path / 'i.png'),
        'seg_map_path': save(SOFT_MASK, tmp_path / 'm.png'),
    }
    results = LoadDISImage()(paths)
    results = TRANSFORMS.build({'type': 'DISResize', 'scale': (8, 8)})(results)
    results = LoadDISAnnotations()(results)
    assert results['img'].shape == (8, 8, 3)
    assert results['gt_alpha'].shape == (4, 6)


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
    with pytest.raises(
        ValueError, match="no 'gt_alpha' for GenerateDISEdge; put LoadDISAnnotations before"
    ):
        GenerateDISEdge()({'seg_fields': []})


def test_transparent_cutout_is_an_empty_mask(tmp_path):
    cutout = Image.new('RGBA', (6, 4), (200, 40, 10, 0))
    assert not load_mask(cutout, tmp_path)['gt_alpha'].any()


@pytest.mark.parametrize('dtype', ['uint8', 'float32'])
def test_mask_of_another_size_is_resized_if_asked_for(tmp_path, dtype):
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 255
    results = {
        'img_path': 'image.jpg',
        'seg_map_path': save(mask, tmp_path / 'mask.png'),
        'ori_shape': (20, 30),
        'resize_mask': True,
    }
    alpha = LoadDISAnnotations(dtype=dtype)(results)['gt_alpha']
    assert alpha.dtype == dtype
    expected = np.array([0] * 14 + [1 / 8, 7 / 8] + [1] * 14)  # a triangle as filter
    if dtype == 'uint8':
        expected = np.rint(255 * expected)
    np.testing.assert_array_equal(alpha, np.tile(expected, (20, 1)))
