"""BSA-Net: the numbers of the released implementation, its attention, and its schedule."""

import pytest
import torch
from baseline_tester import BaselineTester, build, rates_of_epochs
from conftest import normal

from mmdiffdis.models.baselines.bsanet.network import GROUPS, ShuffleAttention
from mmdiffdis.models.baselines.losses import bce_iou_loss

FULL = 'bsanet/bsanet_res2net-50_4xb9-34e_dis5k-1024x1024'
SMALL = 'bsanet/bsanet_small_1xb16-1k2_synthetic-dis-128x128'


@pytest.mark.slow  # of full size
class TestBSANet(BaselineTester):
    NAME = 'bsanet'
    CONFIG = FULL
    TOLERANCE = 3e-5
    GRADIENT_TOLERANCE = 1e-4
    TRAINING_LOSS = 'train_total'

    @classmethod
    def all_losses(cls, model, outputs, golden, mask):
        edge = normal(golden.meta['seed'] + 3, mask.shape) > 1.2
        return model.losses(outputs, dict(mask=mask, edge=edge.to(mask)))

    def maps(self, released):
        outputs = released.outputs
        maps = {f'out_2{i}': logits for i, logits in enumerate(outputs.masks, start=1)}
        maps |= {f'out_{i}': logits for i, logits in enumerate(outputs.coarse_masks, start=1)}
        assert len(maps) == 4 + 4
        return maps | dict(edge=outputs.edge)

    def losses(self, released):
        outputs, mask, losses = released.outputs, released.mask, released.losses
        return dict(
            eval_out_1=bce_iou_loss(outputs.coarse_masks[0], mask),
            eval_out_21=bce_iou_loss(outputs.masks[0], mask),
            eval_structure=losses['loss_mask'] + losses['loss_coarse'],
            eval_edge=losses['loss_edge'],
            eval_total=sum(losses.values()),
        )


@torch.no_grad()
def test_sides_that_cannot_be_divided_are_padded_by_the_border():
    small, image = build(SMALL), torch.randn(1, 3, 100, 128)
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 28, -1)], dim=2)
    results, expected = small.run(image), small.run(padded)
    for result, logits in zip(results.masks, expected.masks, strict=True):
        torch.testing.assert_close(result, logits[:, :, :100])
    torch.testing.assert_close(results.edge, expected.edge[:, :, :100])


@torch.no_grad()
def test_shuffled_attention_weights_channels_and_places_of_each_group():
    attention = ShuffleAttention(4 * GROUPS)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 4 * GROUPS, 5, 6)
    result = attention(x)
    # the shuffle puts the channels of both halves in turn
    result = torch.cat([result[:, ::2], result[:, 1::2]], dim=1)
    for group in range(GROUPS):
        for i in range(2):
            names = ('cweight', 'cbias', 'sweight', 'sbias')
            cweight, cbias, sweight, sbias = (getattr(attention, name)[0, i] for name in names)
            channel = x[:, 4 * group + i]
            gate = (cweight * channel.mean((1, 2), keepdim=True) + cbias).sigmoid()
            torch.testing.assert_close(result[:, 4 * group + i], gate * channel)
            channel = x[:, 4 * group + 2 + i]
            variance, mean = torch.var_mean(channel, (1, 2), correction=0, keepdim=True)
            normed = (channel - mean) / (variance + 1e-5).sqrt()
            normed = attention.gn.weight[i] * normed + attention.gn.bias[i]
            gate = (sweight * normed + sbias).sigmoid()
            torch.testing.assert_close(result[:, 4 * group + 2 + i], gate * channel)


def test_rate_shrinks_at_each_epoch_from_the_30th_on():
    rates = rates_of_epochs(FULL)
    # the released training multiplies by 0.1 before the 30th epoch and each later one
    assert rates == pytest.approx([8e-5 * 0.1 ** max(0, epoch - 29) for epoch in range(1, 35)])
