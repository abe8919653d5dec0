"""PGNet: the numbers of the released implementation, its attention, and its schedule."""

import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmseg.registry import MODELS
from torch.nn import functional as F

from mmdiffdis.models.baselines.pgnet.network import PGNetOutputs, stage_maps
from mmdiffdis.models.baselines.pgnet.segmentor import attention_loss

SMALL = 'pgnet/pgnet_small_1xb16-1k2_synthetic-dis-128x128'


@pytest.mark.slow  # of full size
class TestPGNet(BaselineTester):
    NAME = 'pgnet'
    CONFIG = 'pgnet/pgnet_r18-swin-b_2xb8-32e_dis5k-1024x1024'
    TOLERANCE = 5e-5

    def maps(self, released):
        network, image = released.model.network, released.images
        size = (network.swin_size, network.swin_size)
        small = F.interpolate(image, size, mode='bilinear', align_corners=True)
        maps = {f's{i}': x for i, x in enumerate(stage_maps(network.swin, small), start=1)}
        maps |= {f'r{i}': x for i, x in enumerate(network.resnet(image), start=2)}
        mask, resnet, swin, attention = released.outputs
        return maps | dict(pred=mask, wr=resnet, ws=swin, attmap=attention)

    def losses(self, released):
        losses = released.losses
        return dict(
            eval_main=losses['loss_mask'],
            eval_aux=losses['loss_encoders'],
            eval_agl=losses['loss_attention'],
            eval_total=sum(losses.values()),
        )


@pytest.fixture(scope='module')
def small():
    return build(SMALL)


@torch.no_grad()
def test_stored_masks_are_those_that_mmseg_computes():
    config = Config.fromfile(ROOT / 'configs' / f'{SMALL}.py').model.swin
    config.window_size = 2  # several windows at each stage
    network = build(SMALL, **{'swin.window_size': 2}).network.swin
    plain = MODELS.build(config)
    load = plain.load_state_dict(network.state_dict(), strict=False)
    assert not load.missing_keys and all(key.endswith('.mask') for key in load.unexpected_keys)
    images = torch.randn(2, 3, 64, 64)
    pairs = zip(stage_maps(network, images), stage_maps(plain, images), strict=True)
    for result, expected in pairs:
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize('size', [72, 96])
def test_size_that_windows_do_not_divide_is_named(size):
    with pytest.raises(ValueError, match=rf'swin_size={size}: expected a multiple of 64'):
        build(SMALL, swin_size=size)


def test_attention_learns_pairs_of_the_object_and_weights_errors(small):
    outputs = PGNetOutputs(
        torch.randn(2, 1, 8, 8),
        *(torch.randn(2, 1, 2, 2, requires_grad=True) for _ in range(2)),
        torch.randn(2, 1, 4, 4, requires_grad=True),
    )
    mask = torch.rand(2, 1, 8, 8).round()
    loss = attention_loss(outputs, mask)
    total = 0
    masks = [F.interpolate(mask, (2, 2), mode='bilinear'), *(x.sigmoid() for x in outputs[1:3])]
    for image, i, j in np.ndindex(2, 4, 4):
        target, resnet, swin = (
            (x[image].flatten()[i] * x[image].flatten()[j]).item() for x in masks
        )
        weight = 1 + (abs(target - resnet) + abs(target - swin)) / 2
        probability = outputs.attention[image, 0, i, j].sigmoid().item()
        total -= weight * (target * np.log(probability) + (1 - target) * np.log(1 - probability))
    assert loss.item() == pytest.approx(total / 32, rel=1e-5)
    loss.backward()
    assert outputs.resnet.grad is None and outputs.swin.grad is None


def test_rate_is_that_of_the_released_loop():
    config = Config.fromfile(ROOT / 'configs' / f'{TestPGNet.CONFIG}.py')
    model, length = build(SMALL), 5
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build(
        {**config.param_scheduler, 'optimizer': optimizer, 'epoch_length': length}
    )
    groups = dict(
        zip(
            [name for name, _ in model.named_parameters()],
            optimizer.optimizer.param_groups,
            strict=True,
        )
    )
    steps = config.train_cfg.max_epochs * length
    warm_up = steps // 2
    for step in range(steps):
        rate = 0.03 / 2 * (1 + np.cos(np.pi * (step - warm_up) / (steps - warm_up)))
        rate *= min(1, step / warm_up)
        for name, group in groups.items():
            swin = name.startswith('network.swin.')
            assert group['lr'] == pytest.approx(rate / 10 if swin else rate, abs=1e-12), name
        scheduler.step()
