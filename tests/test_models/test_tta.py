"""Merging of passes against hand-computed means."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmdiffdis.models.tta import DISTTAModel


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
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmseg.registry import DATASETS

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
