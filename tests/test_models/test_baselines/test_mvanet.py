"""MVANet: the numbers of the released implementation, and its parts against plain formulas."""

import pytest
import torch
from baseline_tester import BaselineTester, build, rates_of_epochs

from mmdiffdis.models.baselines.mvanet.network import join, positions, split


@pytest.mark.slow  # of full size
class TestMVANet(BaselineTester):
    NAME = 'mvanet'
    CONFIG = 'mvanet/mvanet_swin-b_1xb1-80e_dis5k-1024x1024'
    GRADIENT_TOLERANCE = 1.5e-3

    def maps(self, released):
        outputs = released.outputs
        maps = {'logits': outputs.logits}
        maps |= {f'side{i + 1}': logits for i, logits in enumerate(outputs.near)}
        maps |= {f'glb{i + 1}': logits for i, logits in enumerate(outputs.far)}
        maps |= {f'tok{i + 1}': weights for i, weights in enumerate(outputs.attention)}
        assert len(maps) == 1 + 5 + 5 + 4
        return maps

    def losses(self, released):
        losses = released.losses
        return dict(
            eval_loc=losses['loss_mask'] + losses['loss_near'],
            eval_glb=losses['loss_far'] / 0.3,
            eval_map=losses['loss_attention'] / 0.3,
            eval_final=losses['loss_mask'],
            eval_total=sum(losses.values()),
        )


@pytest.fixture(scope='module')
def small():
    return build('mvanet/mvanet_small_1xb16-1k2_synthetic-dis-128x128')


@torch.no_grad()
def test_images_of_a_batch_are_independent(small):
    images = torch.randn(3, 3, 128, 256)
    together = small(images)
    for result, alone in zip(together, (small(image[None]) for image in images), strict=True):
        torch.testing.assert_close(result, alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_sides_that_cannot_be_split_are_padded_by_the_border(small):
    image = torch.randn(1, 3, 100, 128)
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 28, -1)], dim=2)
    torch.testing.assert_close(small(image), small(padded)[:, :, :100])


def test_join_undoes_split():
    images = torch.arange(2 * 4 * 6).reshape(2, 1, 4, 6)
    quadrants = split(images)
    assert torch.equal(join(quadrants), images)
    assert quadrants.shape == (8, 1, 2, 3)
    assert torch.equal(quadrants[2:4], images[:, :, :2, 3:])  # all top right ones


def test_positions_are_sines_and_cosines_of_row_and_column():
    code = positions(torch.zeros(1, 8, 3, 5))[0].unflatten(0, (3, 5))
    row, column = torch.tensor([1.5 / 3, 4.5 / 5]) * 2 * torch.pi
    expected = [
        wave(place / period)
        for place in (row, column)
        for period in (1, 100)
        for wave in (torch.sin, torch.cos)
    ]
    torch.testing.assert_close(code[1, 4], torch.stack(expected), atol=1e-5, rtol=0)


def test_rate_shrinks_with_each_epoch_from_the_61st_on():
    rates = rates_of_epochs(TestMVANet.CONFIG)
    # the released training multiplies after the 60th epoch and each later one
    assert rates == pytest.approx([1e-5 * 0.9 ** max(0, epoch - 60) for epoch in range(1, 81)])
