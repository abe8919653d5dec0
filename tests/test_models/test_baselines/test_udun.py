"""UDUN: the numbers of the released implementation, its labels, and its schedule."""

import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT, normal
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from scipy.ndimage import distance_transform_edt, maximum_filter
from torch.nn import functional as F

from mmdiffdis.models.baselines.udun.network import UDUNOutputs
from mmdiffdis.models.baselines.udun.segmentor import trunk_of, udun_losses

FULL = 'udun/udun_r50_1xb8-48e_dis5k-1024x1024'
SMALL = 'udun/udun_small_1xb16-1k2_synthetic-dis-128x128'


@pytest.mark.slow  # of full size
class TestUDUN(BaselineTester):
    """The golden losses are of a trunk that does not follow from the mask."""

    NAME = 'udun_r50'
    CONFIG = FULL
    GRADIENTS = 'train_total'
    GRADIENT_TOLERANCE = 2e-3

    def maps(self, released):
        outputs = released.outputs
        return dict(trunk=outputs.trunk, struct=outputs.structure, mask=outputs.mask)

    def losses(self, released):
        seed, mask = released.golden.meta['seed'], released.mask
        trunk = mask * normal(seed + 3, mask.shape).sigmoid().to(mask)
        model, losses = released.model, {}
        statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
        for mode in ('eval', 'train'):
            model.train(mode == 'train')
            outputs = model.run(released.images) if model.training else released.outputs
            results = udun_losses(outputs, mask, trunk)
            assert [*results] == ['loss_trunk', 'loss_structure', 'loss_mask']
            for name, loss in zip(('trunk', 'struct', 'mask'), results.values(), strict=True):
                losses[f'{mode}_{name}'] = 2 * loss
            losses[f'{mode}_total'] = sum(results.values())
        for name, buffer in model.eval().named_buffers():
            buffer.data.copy_(statistics[name])
        return losses


@pytest.fixture(scope='module')
def small():
    return build(SMALL)


@torch.no_grad()
def test_sides_that_cannot_be_divided_are_padded_by_the_border(small):
    image = torch.randn(1, 3, 100, 128)
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 28, -1)], dim=2)
    outputs, expected = small.run(image), small.run(padded)
    torch.testing.assert_close(outputs.mask, expected.mask[:, :, :100])
    torch.testing.assert_close(outputs.structure, expected.structure[:, :, :100])
    assert outputs.trunk.shape == expected.trunk.shape == (1, 1, 16, 16)


def disks() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(90), torch.arange(120), indexing='ij')
    small = (rows - 30) ** 2 + (columns - 25) ** 2 < 14**2
    large = (rows - 50) ** 2 + (columns - 80) ** 2 < 31**2
    return torch.stack([small | large, small])[:, None].float()


def test_trunk_is_the_root_of_the_distance_to_the_background_over_its_maximum():
    mask = disks()
    for image, trunk in zip(mask[:, 0].numpy(), trunk_of(mask)[:, 0].numpy(), strict=True):
        depth = np.sqrt(distance_transform_edt(maximum_filter(image, 5)))
        # OpenCV's distances are 2 % off at most
        np.testing.assert_allclose(trunk, depth / depth.max(), atol=0.02)
        assert trunk.max() == 1
        np.testing.assert_allclose(trunk * 255, np.rint(trunk * 255), atol=1e-4)


@pytest.mark.parametrize('value', [0.0, 1.0])
def test_trunk_of_a_plain_mask_is_the_mask(value):
    mask = torch.full((1, 1, 32, 40), value)
    assert torch.equal(trunk_of(mask), mask)


def test_trunk_and_structure_share_the_mask(small):
    mask = disks()[..., :88, :]
    logits = torch.randn(3, 2, 1, 88, 120)
    outputs = UDUNOutputs(F.interpolate(logits[0], (12, 16)), logits[1], logits[2])
    losses = small.losses(outputs, dict(mask=mask))
    trunk = trunk_of(mask)
    assert (mask < trunk).any()  # around the object
    structure = torch.maximum(mask - trunk, torch.zeros(()))
    entropy = F.binary_cross_entropy_with_logits(logits[1], structure) / 2
    torch.testing.assert_close(losses['loss_structure'], entropy)
    padded = F.pad(trunk, (0, 8, 0, 8), mode='replicate')
    entropy = F.binary_cross_entropy_with_logits(
        outputs.trunk, F.interpolate(padded, (12, 16), mode='bilinear')
    )
    torch.testing.assert_close(losses['loss_trunk'], entropy / 2)


def test_rates_are_those_of_the_released_loop():
    config = Config.fromfile(ROOT / 'configs' / f'{FULL}.py')
    model = build(SMALL)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.build({**scheduler, 'optimizer': optimizer})
        for scheduler in config.param_scheduler
    ]
    groups = {
        name: group
        for (name, _), group in zip(
            model.named_parameters(), optimizer.optimizer.param_groups, strict=True
        )
    }
    epochs = config.train_cfg.max_epochs
    for epoch in range(epochs):
        rate = 0.05 * (1 - abs((epoch + 1) / (epochs + 1) * 2 - 1))
        for name, group in groups.items():
            if name.startswith(('network.backbone.conv1.', 'network.backbone.bn1.')):
                expected = 0
            else:
                expected = rate / 10 if name.startswith('network.backbone.') else rate
            assert group['lr'] == pytest.approx(expected), name
        for scheduler in schedulers:
            scheduler.step()
