"""IFA: the numbers of the released implementation, and its alignment of levels."""

import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import normal
from torch.nn import functional as F

from mmdiffdis.models.baselines.ifa.network import Alignment, IFAOutputs
from mmdiffdis.models.baselines.layers.resnet import five_maps
from mmdiffdis.models.baselines.losses import hard_cross_entropy


@pytest.mark.slow  # of full size
class TestIFA(BaselineTester):
    """The golden losses ignore some pixels, which no mask has."""

    NAME = 'ifa_r50'
    CONFIG = 'ifa/ifa_r50_1xb8-100e_dis5k-1024x1024'
    TOLERANCE = 3e-5
    GRADIENTS = 'eval_ohem_small'
    TRAINING_LOSS = 'train_ohem_default'

    def maps(self, released):
        network = released.model.network
        x1, x2, x3, x4 = five_maps(network.backbone, released.images)[1:]
        mask, auxiliary = released.outputs
        return dict(x1=x1, x2=x2, x3=x3, x4=x4, main=mask, aux_up=auxiliary)

    @classmethod
    def all_losses(cls, model, outputs, golden, mask, hardness=None):
        counted = normal(golden.meta['seed'] + 3, mask[:, 0].shape).to(mask) <= 1.8
        labels = mask[:, 0].long()[counted]
        main, auxiliary = (
            hard_cross_entropy(x.movedim(1, -1)[counted], labels, **hardness or model.hardness)
            for x in outputs
        )
        return dict(loss_mask=main, loss_auxiliary=0.4 * auxiliary)

    def losses(self, released):
        rest = (released.model, released.outputs, released.golden, released.mask)
        few = self.all_losses(*rest, hardness=dict(threshold=0.5, min_kept=2000))
        return dict(
            eval_ohem_default=sum(released.losses.values()),
            eval_ohem_small=sum(few.values()),
            eval_ohem_small_main_only=few['loss_mask'],
        )


@torch.no_grad()
def test_points_find_the_nearest_pixel_and_its_distance():
    torch.manual_seed(0)
    alignment, level, size = Alignment(3), torch.randn(2, 6, 3, 5), (7, 9)
    alignment.frequencies += torch.rand(6, 2)
    aligned = alignment(level, size)
    centres = [(np.arange(count) + 0.5) / count for count in level.shape[2:]]
    for row, column in np.ndindex(size):
        # relative to the height and width of the map
        away = [(i + 0.5) / n - c for i, n, c in zip((row, column), size, centres, strict=True)]
        i, j = (np.abs(distances).argmin() for distances in away)
        distance = torch.tensor([2 * 3 * away[0][i], 2 * 5 * away[1][j]]).float()
        angles = alignment.frequencies @ distance
        expected = torch.cat([distance, angles.sin(), angles.cos()]).expand(2, -1)
        expected = torch.cat([expected, level[:, :, i, j]], dim=1)
        torch.testing.assert_close(aligned[:, :, row, column], expected, atol=1e-4, rtol=0)


def test_losses_are_those_of_both_classes_with_the_auxiliary_ones_at_four_tenths():
    torch.manual_seed(0)
    model = build('ifa/ifa_small_1xb16-1k2_synthetic-dis-128x128')
    outputs, mask = IFAOutputs(*torch.randn(2, 2, 2, 8, 8)), torch.rand(2, 1, 8, 8)
    losses = model.losses(outputs, dict(mask=mask))
    difference = [x[:, 1:] - x[:, :1] for x in outputs]
    entropy = [F.binary_cross_entropy_with_logits(x, mask.round()) for x in difference]
    torch.testing.assert_close(losses['loss_mask'], entropy[0])
    torch.testing.assert_close(losses['loss_auxiliary'], 0.4 * entropy[1])
    torch.testing.assert_close(model.probability(outputs), difference[0].sigmoid())
