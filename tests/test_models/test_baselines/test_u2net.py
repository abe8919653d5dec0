"""U2-Net: the numbers of the released implementation, preprocessing, and the shipped weights."""

import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT, load_keys
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmseg.registry import MODELS

from mmdiffdis.apis.flops import build_on_meta, count_cost
from mmdiffdis.checkpoints.loading import SHIPPED_WEIGHTS

FULL = 'u2net/u2net_1xb12-600k_dis5k-320x320'
LIGHT = 'u2net/u2netp_1xb12-600k_dis5k-320x320'
SMALL = 'u2net/u2net_small_1xb16-1k2_synthetic-dis-128x128'


class TestU2Net(BaselineTester):
    NAME = 'u2net'
    CONFIG = FULL

    def maps(self, released):
        return {f'd{i}': logits.sigmoid() for i, logits in enumerate(released.outputs)}

    def losses(self, released):
        losses = released.losses
        assert [*losses] == ['loss_fused', *(f'loss_side{i}' for i in range(1, 7))]
        return dict(eval_tar=losses['loss_fused'], eval_total=sum(losses.values()))


class TestU2NetP(TestU2Net):
    NAME = 'u2netp'
    CONFIG = LIGHT


def preprocess(*images):
    config = Config.fromfile(ROOT / 'configs' / f'{SMALL}.py').model.data_preprocessor
    return MODELS.build(config)(dict(inputs=list(images)))['inputs']


def test_images_are_divided_by_their_largest_value_and_normalised_as_for_imagenet():
    bgr = torch.randint(0, 201, (2, 3, 16, 16), dtype=torch.uint8)
    bgr[0] //= 4
    rgb = bgr.flip(1).double()
    mean, std = (
        torch.tensor(numbers, dtype=torch.float64).reshape(1, 3, 1, 1)
        for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    expected = (rgb / rgb.amax((1, 2, 3), keepdim=True) - mean) / std
    torch.testing.assert_close(preprocess(*bgr).double(), expected, atol=1e-5, rtol=0)


def test_a_black_image_stays_black():
    black = torch.zeros(3, 16, 16, dtype=torch.uint8)
    expected = torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(preprocess(black)[0, :, 0, 0], expected)


def test_maps_are_stretched_as_in_the_released_test():
    with torch.no_grad():
        (sample,) = build(SMALL).predict(torch.randn(1, 3, 64, 64))
    assert sample.seg_logits.data.min() == 0 and sample.seg_logits.data.max() == 1


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'gflop'), [('u2net', 117.2), ('u2netp', 39.5)])
def test_costs_are_those_of_the_released_networks(name, gflop):
    config = Config.fromfile(ROOT / 'configs/u2net' / f'{name}_1xb12-600k_dis5k-320x320.py').model
    cost = count_cost(build_on_meta(config), (320, 320))
    assert cost.total_parameters == sum(
        torch.Size(shape).numel()
        for key, shape in load_keys(f'baselines/{name}_keys.json').items()
        if 'running' not in key and 'batches' not in key
    )
    assert cost.total_flop == pytest.approx(gflop * 1e9, rel=1e-3)


def test_shipped_weights_are_the_published_ones_with_their_notice():
    model = build(LIGHT)
    load_checkpoint(model, 'mmdiffdis://u2netp', strict=True)
    checkpoint = CheckpointLoader.load_checkpoint('mmdiffdis://u2netp')
    assert checkpoint['state_dict'].keys() == load_keys('baselines/u2netp_keys.json').keys()
    assert {'Apache-2.0', 'xuebinqin/U-2-Net'} <= set(checkpoint['meta'].values())
    assert 'u2netp.safetensors' in (SHIPPED_WEIGHTS / 'NOTICE.md').read_text()
