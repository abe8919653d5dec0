"""Packing of samples for models and metrics."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmseg.registry import DATASETS

from mmdiffdis.datasets import DIS5KDataset
from mmdiffdis.datasets.transforms import PackDISInputs

TRAIN_PIPELINE = [
    {'type': 'LoadDISImage'},
    {'type': 'LoadDISAnnotations'},
    {'type': 'GenerateDISEdge'},
    {'type': 'RandomFlip', 'prob': 0.5},
    {'type': 'DISRandomCenterCrop', 'max_border': 6},
    {'type': 'DISRandomRotate', 'prob': 1.0},
    {'type': 'DISColorJitter'},
    {'type': 'DISResize', 'scale': (32, 24)},
    {'type': 'PackDISInputs'},
]


def test_training_sample(tmp_path, write_set):
    dataset = DIS5KDataset(data_root=write_set(tmp_path), subset='DIS-VD', pipeline=TRAIN_PIPELINE)
    packed = dataset[0]
    sample = packed['data_samples']
    assert packed['inputs'].dtype == torch.uint8 and packed['inputs'].shape == (3, 24, 32)
    for name, dtype in [
        ('gt_alpha', torch.float32),
        ('gt_edge_map', torch.float32),
        ('gt_sem_seg', torch.int64),
    ]:
        field = getattr(sample, name).data
        assert field.dtype == dtype and field.shape == (1, 24, 32), name
        assert field.min() >= 0 and 0 < field.max() <= 1, name
    assert torch.equal(sample.gt_sem_seg.data, (sample.gt_alpha.data > 0.5).long())
    assert ((sample.gt_alpha.data > 0) & (sample.gt_alpha.data < 1)).any(), 'mask stays soft'
    assert sample.stem == 'a' and sample.subset == 'DIS-VD'
    assert sample.ori_shape == (40, 56) and sample.img_shape == (24, 32)


def test_uint8_masks_give_the_same_sample(tmp_path, write_set):
    root, samples = write_set(tmp_path), []
    for dtype in ('float32', 'uint8'):
        pipeline = [dict(step) for step in TRAIN_PIPELINE]
        pipeline[1]['dtype'] = dtype
        np.random.seed(4)
        samples.append(DIS5KDataset(data_root=root, subset='DIS-VD', pipeline=pipeline)[0])
    floats, bytes_ = (packed['data_samples'] for packed in samples)
    assert torch.equal(samples[0]['inputs'], samples[1]['inputs'])
    for name in ('gt_alpha', 'gt_edge_map'):
        field = getattr(bytes_, name).data
        assert field.dtype == torch.float32
        # rounded twice, by the rotation and by the resizing
        torch.testing.assert_close(field, getattr(floats, name).data, atol=2.01 / 255, rtol=0)


def test_pipeline_repeats_under_numpys_seed(tmp_path, write_set):
    dataset = DIS5KDataset(data_root=write_set(tmp_path), subset='DIS-VD', pipeline=TRAIN_PIPELINE)
    samples = []
    for seed in (4, 4, 5):
        np.random.seed(seed)
        samples.append(dataset[1]['inputs'])
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_hard_label_follows_the_soft_mask_not_the_label_map():
    alpha = np.array([[0.2, 0.6]], np.float32)
    results = {
        'img': np.zeros((1, 2, 3), np.uint8),
        'gt_alpha': alpha,
        'gt_seg_map': np.array([[1, 0]], np.uint8),
    }
    assert PackDISInputs()(results)['data_samples'].gt_sem_seg.data.tolist() == [[[0, 1]]]


@pytest.mark.parametrize(('channels', 'dtype'), [(3, np.uint8), (4, np.uint8), (3, np.float32)])
def test_images_keep_their_channels_and_type(channels, dtype):
    """Mirrored views and images with other channels or types as well."""
    image = (np.arange(6 * 5 * channels).reshape(6, 5, channels) / 2).astype(dtype)[:, ::-1]
    inputs = PackDISInputs()({'img': image})['inputs']
    np.testing.assert_array_equal(inputs.numpy(), image.transpose(2, 0, 1))
    assert inputs.numpy().dtype == dtype


def test_sample_without_ground_truth_has_meta_information_only(tmp_path):
    results = {'img': np.zeros((2, 2, 3), np.uint8), 'img_path': 'a.png', 'stem': 'a'}
    sample = PackDISInputs()(results)['data_samples']
    assert list(sample.keys()) == [] and sample.img_path == 'a.png'


def test_stock_annotations_are_refused():
    results = {'img': np.zeros((2, 2, 3), np.uint8), 'gt_seg_map': np.zeros((2, 2), np.uint8)}
    with pytest.raises(ValueError, match="without 'gt_alpha'; load masks with LoadDISAnnotations"):
        PackDISInputs()(results)


def test_stock_packing_and_stock_augmentation_work(tmp_path, write_set):
    pipeline = [
        *TRAIN_PIPELINE[:3],
        {'type': 'RandomCrop', 'crop_size': (32, 32), 'cat_max_ratio': 0.9},
        {'type': 'PhotoMetricDistortion'},
        {'type': 'PackSegInputs'},
    ]
    dataset = DATASETS.build(
        {
            'type': 'DIS5KDataset',
            'data_root': str(write_set(tmp_path)),
            'subset': 'DIS-VD',
            'pipeline': pipeline,
        }
    )
    label = dataset[0]['data_samples'].gt_sem_seg.data
    assert label.shape == (1, 32, 32) and label.unique().tolist() == [0, 1]


def test_every_transform_describes_itself():
    text = repr(Compose(TRAIN_PIPELINE))
    for step in TRAIN_PIPELINE:
        assert step['type'] in text
    assert 'brightness=(0.5, 1.5)' in text and 'max_border=6' in text and 'prob=1.0' in text
