"""Batches of random size."""

import re

import numpy as np
import pytest
import torch
from conftest import draw_samples
from mmengine.registry import FUNCTIONS

from mmdiffdis.datasets import collate_at_random_size


def samples_of_several_sizes():
    samples = []
    for i, side in enumerate((40, 96, 70)):
        (sample,) = draw_samples(1, side)
        del sample.gt_edge_map
        samples.append(dict(inputs=torch.full((3, side, side), 50 * i).byte(), data_samples=sample))
    return samples


def test_each_batch_has_a_random_size():
    collate = FUNCTIONS.get('collate_at_random_size')
    np.random.seed(0)
    sizes = set()
    for _ in range(40):
        batch = collate(samples_of_several_sizes(), sides=(33, 100))
        (size,) = {tuple(image.shape[1:]) for image in batch['inputs']}
        for i, (image, sample) in enumerate(
            zip(batch['inputs'], batch['data_samples'], strict=True)
        ):
            assert image.dtype == torch.uint8 and (image == 50 * i).all()
            alpha = sample.gt_alpha.data
            assert tuple(alpha.shape) == (1, *size) == (1, *sample.img_shape)
            assert torch.equal(sample.gt_sem_seg.data, (alpha > 0.5).long())
        sizes.add(size)
    assert sizes == {(h, w) for h in (64, 96) for w in (64, 96)}


@pytest.mark.parametrize('sides', [(33, 60), (0, 20), (128, 64)], ids=str)
def test_sides_without_a_multiple_are_named(sides):
    with pytest.raises(ValueError, match=rf'{re.escape(str(sides))}: expected multiples of 32'):
        collate_at_random_size(samples_of_several_sizes(), sides=sides)


def test_edges_are_refused():
    sample = dict(inputs=torch.zeros(3, 64, 64).byte(), data_samples=draw_samples(1, 64)[0])
    with pytest.raises(ValueError, match='expected a pipeline without .*GenerateDISEdge'):
        collate_at_random_size([sample])
