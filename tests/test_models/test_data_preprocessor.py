"""The batch: its range, its order, and CutMix inside pairs."""

import pytest
import torch
from conftest import draw_samples

from mmdiffdis.models import DISDataPreProcessor
from mmdiffdis.models.data_preprocessor import PairwiseCutMix, stretch


def batch(size: int = 2, side: int = 64) -> dict:
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=draw_samples(size, side))


def test_range_order_and_shape():
    data = batch()
    result = DISDataPreProcessor()(data)['inputs']
    assert result.shape == (2, 3, 64, 64)
    bgr = data['inputs'][0]
    torch.testing.assert_close(result[0, 0], bgr[2].float() / 127.5 - 1)
    unreversed = DISDataPreProcessor(bgr_to_rgb=False)(data)['inputs']
    torch.testing.assert_close(unreversed[0, 0], bgr[0].float() / 127.5 - 1)


def test_without_samples_as_in_predicting():
    result = DISDataPreProcessor()(dict(inputs=batch()['inputs']))
    assert result['data_samples'] is None


def test_min_max_stretches_images_and_ground_truth_in_training_only():
    data = batch()
    data['inputs'][0] = (data['inputs'][0] / 4 + 50).to(torch.uint8)
    data['data_samples'][0].gt_alpha.data *= 0.5
    preprocessor = DISDataPreProcessor(min_max=True)
    tested = preprocessor(data)['inputs'][0]
    assert tested.min() > -0.7 and tested.max() < 0
    trained = preprocessor(data, training=True)
    assert trained['inputs'][0].min() == -1 and trained['inputs'][0].max() == 1
    assert trained['data_samples'][0].gt_alpha.data.max() == 1


def test_stretching_a_constant_keeps_it():
    assert torch.equal(stretch(torch.zeros(2, 2)), torch.zeros(2, 2))
    assert torch.equal(stretch(torch.full((2, 2), 0.4)), torch.full((2, 2), 0.4))


def test_images_of_different_sizes_are_an_error():
    data = dict(inputs=[torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)])
    with pytest.raises(ValueError, match=r'different sizes \[\(8, 8\), \(8, 9\)\].*DISResize'):
        DISDataPreProcessor()(data)


# --- CutMix ---------------------------------------------------------------------------------------


def test_every_pixel_comes_from_the_image_or_its_partner_and_ground_truth_follow():
    torch.manual_seed(0)
    names = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 32, 32)
    image, mask = PairwiseCutMix(prob=1.0)([names.repeat(1, 3, 1, 1), 10 * names])
    for i in range(4):
        assert set(image[i].unique().tolist()) == {float(i), float(i ^ 1)}
        assert torch.equal(mask[i, 0], 10 * image[i, 0])


def test_pasted_region_is_a_box_of_the_stated_area_and_aspect():
    torch.manual_seed(0)
    cutmix = PairwiseCutMix(prob=1.0)
    areas, ratios = [], []
    for _ in range(300):
        rows, columns = cutmix.sample_box(200, 200)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert 0 <= rows.start < rows.stop <= 200 and 0 <= columns.start < columns.stop <= 200
        areas.append(height * width / 200**2)
        ratios.append(height / width)
    assert 0.015 < min(areas) < 0.06 and 0.34 < max(areas) < 0.41
    assert 0.28 < min(ratios) < 0.4 and 2.5 < max(ratios) < 3.5
    assert abs(torch.tensor(ratios).log().mean()) < 0.1  # as often tall as wide


def test_probability_is_per_image():
    torch.manual_seed(0)
    names = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 16, 16)
    mixed = [PairwiseCutMix(prob=0.5)([names])[0] for _ in range(400)]
    share = torch.stack([(m != names).flatten(1).any(1) for m in mixed]).float().mean(0)
    assert (share - 0.5).abs().max() < 0.1
    assert all(torch.equal(PairwiseCutMix(prob=0.0)([names])[0], names) for _ in range(20))


def test_odd_one_out_is_left_alone():
    names = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 16, 16)
    for _ in range(20):
        assert torch.equal(PairwiseCutMix(prob=1.0)([names])[0][2], names[2])


def test_cutmix_is_for_training_and_can_be_switched_off():
    torch.manual_seed(0)
    data = batch()
    for cutmix, training in ((None, True), (dict(prob=1.0), False)):
        result = DISDataPreProcessor(cutmix=cutmix)(data, training)
        plain = DISDataPreProcessor()(data)
        assert torch.equal(result['inputs'], plain['inputs'])
    data = batch()
    for i, sample in enumerate(data['data_samples']):
        sample.gt_alpha.data[:] = i
        data['inputs'][i][:] = 255 * i
    mixed = DISDataPreProcessor(cutmix=dict(prob=1.0))(data, training=True)
    mixed_truth = mixed['data_samples'][0].gt_alpha.data
    assert mixed_truth.max() == 1  # what came from the partner, whose mask is full
    assert torch.equal(mixed_truth > 0, mixed['inputs'][:1, 0] == 1)


@pytest.mark.parametrize('low', [0, 239], ids=['nearly black', 'nearly white'])
def test_noise_of_a_mask_is_not_stretched_to_a_mask(low):
    data = batch()
    gt = (low + torch.randint(0, 17, (1, 64, 64))) / 255
    data['data_samples'][0].gt_alpha.data = gt.clone()
    trained = DISDataPreProcessor(min_max=True)(data, training=True)
    assert torch.equal(trained['data_samples'][0].gt_alpha.data, gt)
