"""Geometric transforms keep images and soft masks aligned."""

import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from mmdiffdis.datasets.transforms import (
    DISRandomCenterCrop,
    DISRandomCrop,
    DISRandomRotate,
    DISRandomZoom,
    DISResize,
    DISShrink,
    GenerateDISEdge,
)

CROPS = (DISRandomCenterCrop, DISRandomCrop)


@pytest.fixture
def results(draw_pair) -> dict:
    """A pipeline's dict after loading; each channel of the image equals the mask."""
    mask = draw_pair(height=60, width=80)[1]
    loaded = {
        'img': np.dstack([mask] * 3),
        'img_shape': mask.shape,
        'ori_shape': mask.shape,
        'gt_alpha': (mask / 255).astype(np.float32),
        'gt_seg_map': (mask > 127).astype(np.uint8),
        'seg_fields': ['gt_seg_map', 'gt_alpha'],
    }
    return GenerateDISEdge()(loaded)


def assert_aligned(results: dict, tolerance: float) -> None:
    """Checks that the soft mask equals the image, and the hard one too, except at its border."""
    shown = results['img'][..., 0] / 255
    np.testing.assert_allclose(results['gt_alpha'], shown, atol=tolerance)
    assert (results['gt_seg_map'] != (results['gt_alpha'] > 0.5)).mean() < 0.05
    sizes = {results[key].shape[:2] for key in ('img', *results['seg_fields'])}
    assert sizes == {results['img_shape'][:2]}
    assert results['gt_alpha'].dtype == results['gt_edge_map'].dtype == np.float32


def test_resize_is_pillows_bilinear_for_image_and_soft_fields(results):
    expected = Image.fromarray(results['img']).resize((32, 20), Image.Resampling.BILINEAR)
    labels = Image.fromarray(results['gt_seg_map']).resize((32, 20), Image.Resampling.NEAREST)
    resized = DISResize(scale=(32, 20))(results)
    np.testing.assert_array_equal(resized['img'], np.array(expected))
    np.testing.assert_array_equal(resized['gt_seg_map'], np.array(labels))
    np.testing.assert_allclose(resized['scale_factor'], (32 / 80, 20 / 60))
    assert_aligned(resized, tolerance=1.01 / 255)


@pytest.fixture
def results_in_bytes(results) -> dict:
    """The same, as loaded with `dtype='uint8'`."""
    alpha = np.rint(results['gt_alpha'] * 255).astype(np.uint8)
    return GenerateDISEdge()(dict(results, gt_alpha=alpha))


@pytest.mark.parametrize(
    'transform',
    [
        DISResize(scale=(31, 20)),
        DISResize(scale=(31, 20), backend='torch'),
        DISResize(scale=(31, 20), backend='cv2'),
        DISShrink(shorter_side=32, divisor=8),
        DISRandomRotate(prob=1.0),
        DISRandomZoom(prob=1.0),
        DISRandomCenterCrop(),
        DISRandomCrop(min_foreground=0),
    ],
    ids=repr,
)
def test_uint8_fields_are_transformed_like_float_fields(transform, results, results_in_bytes):
    transformed = []
    for fields in (results, results_in_bytes):
        np.random.seed(2)
        transformed.append(transform(fields))
    floats, bytes_ = transformed
    for name in ('gt_alpha', 'gt_edge_map'):
        assert bytes_[name].dtype == np.uint8
        np.testing.assert_allclose(bytes_[name] / 255, floats[name], atol=1.01 / 255)
    soft = np.unique(bytes_['gt_edge_map'])
    assert len(soft) > 2 or isinstance(transform, CROPS), 'edges became labels'
    np.testing.assert_array_equal(bytes_['gt_seg_map'], floats['gt_seg_map'])


@pytest.mark.parametrize('keep_ratio', [False, True])
def test_torch_resizes_like_pillow_within_a_level(results, keep_ratio):
    results |= {key: results[key][:, ::-1] for key in ('img', *results['seg_fields'])}  # mirrored
    expected = DISResize(scale=(31, 20), keep_ratio=keep_ratio)(dict(results))
    resized = DISResize(scale=(31, 20), keep_ratio=keep_ratio, backend='torch')(dict(results))
    assert resized['img'].dtype == np.uint8
    np.testing.assert_allclose(resized['img'].astype(int), expected['img'], atol=1)
    for key in ('gt_alpha', 'gt_edge_map'):
        np.testing.assert_allclose(resized[key], expected[key], atol=1e-5)
    np.testing.assert_array_equal(resized['gt_seg_map'], expected['gt_seg_map'])
    for key in ('img_shape', 'scale_factor', 'keep_ratio'):
        np.testing.assert_allclose(resized[key], expected[key])
    assert_aligned(resized, tolerance=1.01 / 255)


def test_resize_with_opencv_has_no_antialiasing(results):
    results |= {key: results[key][:, ::-1] for key in ('img', *results['seg_fields'])}  # mirrored
    resized = DISResize(scale=(20, 15), backend='cv2')(dict(results))
    for key in ('img', 'gt_alpha', 'gt_edge_map'):
        # the mean of the middle two of every four rows, and of columns
        middle = results[key].astype(float)
        middle = (middle[1::4] + middle[2::4]) / 2
        middle = (middle[:, 1::4] + middle[:, 2::4]) / 2
        np.testing.assert_allclose(resized[key], middle, atol=0.51 if key == 'img' else 1e-6)
    np.testing.assert_allclose(resized['scale_factor'], (20 / 80, 15 / 60))
    labels = DISResize(scale=(20, 15))(dict(results))['gt_seg_map']
    np.testing.assert_array_equal(resized['gt_seg_map'], labels)


def test_resize_keeps_the_amount_of_foreground(results):
    before = results['gt_alpha'].mean()
    np.testing.assert_allclose(DISResize(scale=(20, 15))(results)['gt_alpha'].mean(), before, 0.02)


def test_resize_keep_ratio(results):
    resized = DISResize(scale=(40, 40), keep_ratio=True)(results)
    assert resized['img_shape'] == (30, 40)
    assert_aligned(resized, tolerance=1.01 / 255)


def test_resize_inside_mmcvs_random_resize(results):
    config = {'type': 'RandomResize', 'scale': (64, 48), 'ratio_range': (0.5, 2.0)}
    resized = TRANSFORMS.build(config | {'resize_type': 'DISResize'})(results)
    assert_aligned(resized, tolerance=1.01 / 255)


def test_stock_flip_moves_all_fields(results):
    before = {key: results[key].copy() for key in ('img', *results['seg_fields'])}
    flipped = TRANSFORMS.build({'type': 'RandomFlip', 'prob': 1.0})(results)
    for key, value in before.items():
        np.testing.assert_array_equal(flipped[key], value[:, ::-1])


def test_stock_crop_moves_all_fields(results):
    cropped = TRANSFORMS.build({'type': 'RandomCrop', 'crop_size': (24, 30)})(results)
    assert cropped['img_shape'] == (24, 30)
    assert_aligned(cropped, tolerance=1e-6)


def test_center_crop_is_centred(results):
    before = results['img'].copy()
    np.random.seed(3)
    border_x, border_y = np.random.randint(1, 31), np.random.randint(1, 31)
    np.random.seed(3)
    cropped = DISRandomCenterCrop()(results)
    rows = slice(border_y // 2, border_y // 2 + 60 - border_y)
    columns = slice(border_x // 2, border_x // 2 + 80 - border_x)
    np.testing.assert_array_equal(cropped['img'], before[rows, columns])
    assert_aligned(cropped, tolerance=1e-6)


def test_center_crop_takes_1_to_max_border_pixels(results):
    np.random.seed(0)
    widths = {DISRandomCenterCrop(3)(dict(results))['img'].shape[1] for _ in range(60)}
    assert widths == {77, 78, 79}


def test_center_crop_keeps_sides_that_are_no_longer_than_the_border():
    tiny = {'img': np.zeros((30, 40, 3), np.uint8), 'seg_fields': []}
    shape = DISRandomCenterCrop(30)(tiny)['img'].shape
    assert shape[0] == 30 and shape[1] < 40


def test_rotation_fills_corners_with_black_and_moves_all_fields(results):
    before = results['gt_alpha']
    np.random.seed(1)
    rotated = DISRandomRotate(prob=1.0, degree=15)(results)
    assert not np.array_equal(rotated['gt_alpha'], before)
    assert rotated['gt_alpha'].min() >= 0 and rotated['gt_alpha'].max() <= 1
    assert rotated['gt_alpha'][0, 0] == 0 and rotated['img'][0, 0].max() == 0
    assert_aligned(rotated, tolerance=0.25)


def test_rotation_equals_pillows_by_the_same_angle(results):
    smooth = np.cos(np.hypot(*np.mgrid[-30:30, -40:40]) / 50).astype(np.float32)
    results['gt_alpha'] = smooth
    results['img'] = np.dstack([np.rint(smooth * 255).astype(np.uint8)] * 3)
    np.random.seed(5)
    _, angle = np.random.rand(), np.random.uniform(-15, 15)
    np.random.seed(5)
    rotated = DISRandomRotate(prob=1.0)(dict(results))
    inner = slice(15, -15)  # away from the black corners
    for name, resampling, tolerance in (
        ('img', Image.Resampling.BICUBIC, 1.51),
        ('gt_alpha', Image.Resampling.BILINEAR, 1e-3),
        ('gt_seg_map', Image.Resampling.NEAREST, 0),
    ):
        expected = np.array(Image.fromarray(results[name]).rotate(angle, resampling), float)[
            inner, inner
        ]
        ours = rotated[name][inner, inner]
        assert (np.abs(ours - expected) > tolerance).mean() < 0.01, name
        assert not np.array_equal(ours, results[name][inner, inner])
        assert rotated[name][0, 0].max() == 0


def test_rotation_happens_with_its_probability(results):
    np.random.seed(0)
    transform = DISRandomRotate(prob=0.2)
    rotated = [transform(dict(results))['img'] is not results['img'] for _ in range(300)]
    assert 0.13 < np.mean(rotated) < 0.27


@pytest.mark.parametrize('scale', [0.5, 2.0])
def test_zoom_shrinks_into_black_or_enlarges_the_centre(results, scale):
    rows, columns = np.mgrid[:60, :80]
    results['gt_alpha'] = ((rows + 2 * columns) / 255).astype(np.float32)
    results['img'] = np.dstack([rows + 2 * columns] * 3).astype(np.uint8)
    zoomed = DISRandomZoom(prob=1.0, scales=(scale, scale))(results)
    assert zoomed['img'].shape == (60, 80, 3)
    rows, columns = (rows - 29.5) / scale + 29.5, (columns - 39.5) / scale + 39.5
    inside = (rows >= 0) & (rows <= 59) & (columns >= 0) & (columns <= 79)
    outside = (rows <= -1) | (rows >= 60) | (columns <= -1) | (columns >= 80)
    for levels in (zoomed['img'][..., 0], zoomed['gt_alpha'] * 255):
        np.testing.assert_allclose(levels[inside], (rows + 2 * columns)[inside], atol=0.51)
        assert outside.any() == (scale < 1) and not levels[outside].any()


def test_zoom_happens_with_its_probability(results):
    np.random.seed(0)
    transform = DISRandomZoom(prob=0.5)
    zoomed = [transform(dict(results))['img'] is not results['img'] for _ in range(100)]
    assert 0.35 < np.mean(zoomed) < 0.65


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        ((600, 800), (608, 800)),  # nearest multiples of 32
        ((2560, 5000), (1280, 2496)),  # 5000 / 2 = 2500
        ((5000, 2560), (2496, 1280)),
        ((10, 70), (32, 64)),
    ],
    ids=str,
)
def test_shrinks_the_shorter_side_alone(size, expected):
    results = DISShrink()(dict(img=np.zeros((*size, 3), np.uint8), seg_fields=[]))
    assert results['img'].shape[:2] == results['img_shape'] == expected


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: DISRandomCenterCrop(0), 'max_border=0: expected at least 1 pixel'),
        (lambda: DISRandomRotate(prob=2), 'prob=2: expected a probability'),
        (lambda: DISRandomRotate(degree=0), 'degree=0: expected a positive'),
        (lambda: DISRandomZoom(prob=2), 'prob=2: expected a probability'),
        (lambda: DISRandomZoom(scales=(2, 1)), r'scales=\(2, 1\): expected 0 < lowest'),
        (lambda: DISShrink(16), 'shorter_side=16, divisor=32: expected 1 <= divisor'),
        (
            lambda: DISResize(8, backend='opencv'),
            "backend='opencv': expected 'pillow', 'torch' or 'cv2'",
        ),
    ],
)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_random_crop_keeps_area_shape_and_foreground(results):
    height, width = results['img_shape']
    foreground = results['gt_alpha'].sum()
    crop = DISRandomCrop(area=(0.4, 0.9), aspect=(0.5, 2.0), min_foreground=0.7)
    sizes = set()
    for seed in range(30):
        np.random.seed(seed)
        cropped = crop(dict(results))
        assert_aligned(cropped, tolerance=1e-6)
        rows, columns = cropped['img_shape']
        sizes.add((rows, columns))
        if (rows, columns) != (height, width):  # else no box kept enough
            assert 0.38 <= rows * columns / (height * width) <= 0.92
            # a little beyond, where a box would be longer than the image, or is rounded
            assert 0.48 <= columns / width * height / rows <= 2.1
        assert cropped['gt_alpha'].sum() >= 0.7 * foreground
    assert len(sizes) > 15


def test_random_crop_without_foreground_or_chance(results):
    empty = dict(results, gt_alpha=np.zeros_like(results['gt_alpha']))
    np.random.seed(0)
    assert DISRandomCrop(area=(0.3, 0.5))(empty)['img_shape'] != results['img_shape']
    assert DISRandomCrop(prob=0)(dict(results))['img_shape'] == results['img_shape']


@pytest.mark.parametrize(
    'wrong',
    [dict(area=(0.5, 0.4)), dict(area=(0.5, 1.1)), dict(aspect=(0, 1)), dict(prob=2)],
    ids=str,
)
def test_random_crop_refuses_wrong_ranges(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))}=.*expected'):
        DISRandomCrop(**wrong)
