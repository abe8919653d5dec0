"""The one reading of predictions."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmdiffdis.structures import foreground_probability, image_stem, to_original_size


def predicted(data: torch.Tensor) -> SegDataSample:
    return SegDataSample(seg_logits=PixelData(data=data))


def test_one_channel_is_already_a_probability():
    probability = torch.rand(1, 3, 4)
    torch.testing.assert_close(foreground_probability(predicted(probability)), probability[0])


def test_two_channels_are_logits():
    logits = torch.randn(2, 3, 4) * 5
    expected = 1 / (1 + torch.exp(logits[0] - logits[1]))
    torch.testing.assert_close(foreground_probability(predicted(logits)), expected)


def test_dict_form_of_metrics():
    probability = torch.rand(1, 3, 4)
    sample = predicted(probability)
    sample.set_metainfo({'img_path': 'a.jpg'})
    torch.testing.assert_close(foreground_probability(sample.to_dict()), probability[0])


def test_half_precision_rounding_is_clipped_into_float32():
    probability = torch.tensor([[[1.0039, -0.001, 0.5]]]).bfloat16()
    result = foreground_probability(predicted(probability))
    assert result.dtype == torch.float32
    assert result.min() == 0 and result.max() == 1


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (torch.tensor([[[3.0, -2.0]]]), r'lies in \[-2, 3\].*look like logits'),
        (torch.zeros(3, 2, 2), r'shape \(3, 2, 2\), expected \[1, H, W\]'),
        (torch.tensor([[[float('nan'), 0.0]]]), 'NaN or infinity'),
        (torch.tensor([[[float('inf'), 0.0]]]), 'NaN or infinity'),
    ],
)
def test_what_is_no_prediction_of_foreground(data, message):
    with pytest.raises(ValueError, match=message):
        foreground_probability(predicted(data))


def test_missing_prediction_lists_what_is_there():
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 2, 2)))
    with pytest.raises(ValueError, match=r"no 'seg_logits', only .*'gt_sem_seg'"):
        foreground_probability(sample)


def test_a_name_gives_one_stem_and_so_one_noise_however_it_is_composed(tmp_path):
    composed, decomposed = 'caf\u00e9 1.5', 'cafe\u0301 1.5'
    for name in (composed, decomposed):
        sample = SegDataSample(metainfo=dict(img_path=f'{tmp_path}/{name}.jpg'))
        assert image_stem(sample) == composed
    assert image_stem(SegDataSample(metainfo=dict(stem=composed, img_path='other.png'))) == composed
    assert image_stem(SegDataSample()) == ''


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_maps_in_half_precision_are_resized_on_a_cpu(dtype):
    maps = torch.rand(1, 8, 8)
    resized = to_original_size(maps.to(dtype), dict(ori_shape=(5, 13)))
    expected = to_original_size(maps, dict(ori_shape=(5, 13)))
    assert resized.dtype == torch.float32
    torch.testing.assert_close(resized, expected, rtol=0, atol=0.01)
