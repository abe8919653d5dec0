"""Merging of passes against hand-computed means."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from mmdiffdis.models.tta import DISTTAModel
from mmdiffdis.structures import foreground_probability


class Segmentor(nn.Module):
    """Stands in for a segmentor that has predicted already."""

    def __init__(self, threshold: float | None = None) -> None:
        super().__init__()
        self.decode_head = nn.Identity()
        self.decode_head.threshold = threshold

    def test_step(self, data: dict) -> list[SegDataSample]:
        return data['data_samples']


def make_pass(logits: list, edge: float | None = None, **meta) -> SegDataSample:
    sample = SegDataSample(
        seg_logits=PixelData(data=torch.tensor(logits)),
        gt_alpha=PixelData(data=torch.full((1, 1, 2), 0.25)),
        gt_sem_seg=PixelData(data=torch.zeros(1, 1, 2, dtype=torch.long)),
        metainfo={'img_path': 'a.jpg', 'stem': 'a', **meta},
    )
    if edge is not None:
        sample.pred_edge_map = PixelData(data=torch.full((1, 1, 2), edge))
    return sample


def merge(*passes: SegDataSample, **options) -> SegDataSample:
    model = DISTTAModel(Segmentor(options.pop('threshold', None)), **options)
    data = {'data_samples': [[sample] for sample in passes]}  # one image, its augmentations
    return model.test_step(data)[0]


def test_one_channel_probabilities_are_averaged_as_they_are():
    merged = merge(make_pass([[[0.2, 0.9]]]), make_pass([[[0.6, 0.3]]]))
    torch.testing.assert_close(merged.seg_logits.data, torch.tensor([[[0.4, 0.6]]]))
    assert merged.pred_sem_seg.data.tolist() == [[[0, 1]]]


def test_two_channels_are_averaged_as_probabilities():
    odds = torch.tensor([3.0, 1.0]).log().tolist()  # probabilities 0.75 and 0.5
    merged = merge(make_pass([[[0.0, 0.0]], [odds]]), make_pass([[[0.0, 0.0]], [[0.0, 0.0]]]))
    torch.testing.assert_close(merged.seg_logits.data, torch.tensor([[[0.625, 0.5]]]))


def test_min_max_stretches_each_pass_first():
    passes = make_pass([[[0.2, 0.6]]]), make_pass([[[0.5, 0.4]]])
    merged = merge(*passes, min_max=True)
    torch.testing.assert_close(merged.seg_logits.data, torch.tensor([[[0.5, 0.5]]]))
    constant = merge(make_pass([[[0.3, 0.3]]]), min_max=True)
    torch.testing.assert_close(constant.seg_logits.data, torch.tensor([[[0.3, 0.3]]]))


def test_threshold_of_the_head_is_used():
    assert merge(make_pass([[[0.2, 0.4]]]), threshold=0.3).pred_sem_seg.data.tolist() == [[[0, 1]]]


def test_truth_and_meta_information_are_kept_and_inputs_unchanged():
    first, second = make_pass([[[0.2, 0.9]]], flip=False), make_pass([[[0.6, 0.3]]], flip=True)
    merged = merge(first, second)
    assert merged.img_path == 'a.jpg' and merged.stem == 'a' and merged.flip is False
    torch.testing.assert_close(merged.gt_alpha.data, torch.full((1, 1, 2), 0.25))
    assert merged.gt_sem_seg.data.dtype == torch.long
    torch.testing.assert_close(first.seg_logits.data, torch.tensor([[[0.2, 0.9]]]))


def test_edges_are_averaged_if_all_passes_have_them():
    merged = merge(make_pass([[[0.1, 0.2]]], 0.2), make_pass([[[0.1, 0.2]]], 0.6))
    torch.testing.assert_close(merged.pred_edge_map.data, torch.full((1, 1, 2), 0.4))
    assert 'pred_edge_map' not in merge(make_pass([[[0.1, 0.2]]], 0.2), make_pass([[[0.1, 0.2]]]))


@pytest.mark.parametrize('channels', [1, 2])
def test_flipped_pass_of_a_real_segmentor_gives_the_same_mask(stock_config, channels):
    """A flip-equivariant net predicts the same twice, so the mean equals one plain pass."""
    cfg = Config.fromfile(stock_config(channels))
    torch.manual_seed(0)
    segmentor = MODELS.build(cfg.model).eval()
    for module in segmentor.modules():  # symmetric kernels commute with flipping
        if isinstance(module, nn.Conv2d):
            module.weight.data = (module.weight.data + module.weight.data.flip(-1)) / 2
            module.stride = (1, 1)
        if isinstance(module, nn.MaxPool2d):
            module.stride = 1
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.tta_pipeline[1].transforms[0] = [{'type': 'DISResize', 'scale': (32, 32)}]
    batch = pseudo_collate([DATASETS.build(cfg.test_dataloader.dataset)[0]])
    plain = {key: value[:1] for key, value in batch.items()}
    with torch.no_grad():
        merged = MODELS.build({'type': 'DISTTAModel', 'module': segmentor}).test_step(batch)[0]
        single = DISTTAModel(segmentor).test_step(plain)[0]
    assert merged.seg_logits.data.shape == (1, 40, 56)
    assert single.seg_logits.data.std() > 0
    torch.testing.assert_close(merged.seg_logits.data, single.seg_logits.data, atol=1e-5, rtol=0)


@pytest.mark.parametrize('channels', [1, 2])
def test_averaging_at_a_scale_in_8_bits(stock_config, channels):
    """Against the passes of the segmentor alone, put together in numpy and Pillow."""
    cfg = Config.fromfile(stock_config(channels))
    torch.manual_seed(0)
    segmentor = MODELS.build(cfg.model).eval()
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    batch = pseudo_collate([DATASETS.build(cfg.test_dataloader.dataset)[0]])
    width, height = 30, 20
    with torch.no_grad():
        merged = DISTTAModel(segmentor, min_max=True, scale=(width, height)).test_step(batch)[0]
        passes = []
        for inputs, samples in zip(batch['inputs'], batch['data_samples'], strict=True):
            assert samples[0].ori_shape == (40, 56)  # left as it was
            small = [SegDataSample(metainfo={**samples[0].metainfo, 'ori_shape': (height, width)})]
            prediction = segmentor.test_step(dict(inputs=inputs, data_samples=small))[0]
            one = foreground_probability(prediction).numpy()
            passes.append((one - one.min()) / (one.max() - one.min()))
    assert len(passes) == 4
    levels = Image.fromarray((np.mean(passes, axis=0) * 255).astype(np.uint8))
    expected = np.array(levels.resize((56, 40), Image.Resampling.BILINEAR))
    levels = merged.seg_logits.data[0].numpy() * 255
    assert merged.ori_shape == (40, 56) == levels.shape
    # a mean that lies on a level may be cut off to either side
    assert np.abs(np.rint(levels) - levels).max() < 1e-3
    assert np.abs(levels - expected).max() < 1.01 and np.abs(levels - expected).mean() < 0.05
    assert set(merged.pred_sem_seg.data.unique().tolist()) <= {0, 1}
    assert merged.gt_alpha.shape == (40, 56)


def test_edges_are_averaged_at_the_scale_too():
    passes = [make_pass([[[0.2, 0.9]]], edge, ori_shape=(3, 5)) for edge in (0.25, 0.5)]
    merged = merge(*passes, scale=(2, 1))
    assert torch.equal(merged.pred_edge_map.data, torch.full((1, 3, 5), 95 / 255))  # 0.375 * 255
    assert merged.seg_logits.data[0, :, 0].tolist() == pytest.approx([51 / 255] * 3)
    assert merged.seg_logits.shape == (3, 5)
