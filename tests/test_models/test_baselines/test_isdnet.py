"""ISDNet: the numbers of the released implementation, its shallow branch and its labels."""

import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import normal
from mmseg.models.backbones import STDCNet

from mmdiffdis.checkpoints import save_weights
from mmdiffdis.models.baselines.isdnet.network import NORM, ShallowBranch, details
from mmdiffdis.models.baselines.isdnet.segmentor import IGNORED, isdnet_losses

SMALL = 'isdnet/isdnet_small_1xb16-1k2_synthetic-dis-128x128'
# our losses -> the released ones
LOSSES = dict(
    loss_mask='refine_loss_seg',
    loss_fine='aux_1_loss_seg',
    loss_coarse='aux_2_loss_seg',
    loss_deep='decode_loss_seg',
    loss_stage='aux_loss_seg',
    loss_details='aux_3_recon_losses',
    loss_affinity='aux_4_fa_loss',
)


@pytest.mark.slow  # of full size
class TestISDNet(BaselineTester):
    NAME = 'isdnet_r18'
    CONFIG = 'isdnet/isdnet_r18-d8_1xb8-80k_dis5k-1024x1024'
    TOLERANCE = 2e-5
    GRADIENT_TOLERANCE = 1e-4
    TRAINING_LOSS = 'train_total'

    @classmethod
    def run(cls, model, images):
        return model.network(images, supervised=True)

    @classmethod
    def all_losses(cls, model, outputs, golden, mask):
        labels = mask[:, 0].long()
        ignored = normal(golden.meta['seed'] + 3, labels.shape) > 1.8
        return isdnet_losses(outputs, labels.masked_fill(ignored.to(labels.device), IGNORED))

    def maps(self, released):
        supervised = released.outputs.supervised
        fine, coarse = details(released.images)
        return dict(
            logits=released.outputs.logits,
            refine_aux16=supervised.fine,
            refine_aux8=supervised.coarse,
            aspp=supervised.features,
            aspp_logits=supervised.deep,
            aux_logits=supervised.stage,
            sr=supervised.restored_details,
            lap1=fine,
        )

    def losses(self, released):
        losses = {f'eval_{name}': released.losses[ours] for ours, name in LOSSES.items()}
        return losses | dict(eval_total=sum(released.losses.values()))


def test_shallow_branch_starts_from_weights_for_three_channels(tmp_path):
    channels = (4, 8, 32, 64, 128)
    stdc = STDCNet('STDCNet1', 3, channels, 'cat', NORM, dict(type='ReLU')).eval()
    path = save_weights(stdc, tmp_path / 'stdc.safetensors')
    branch = ShallowBranch(channels, dict(type='Pretrained', checkpoint=str(path))).eval()
    branch.init_weights()
    image = torch.randn(1, 3, 64, 96)
    # twice the same weights, so that the sum of both images counts
    maps = branch(torch.cat([image, 2 * image], dim=1))
    for result, expected in zip(maps, stdc(3 * image)[:2], strict=True):
        torch.testing.assert_close(result, expected)


def test_only_training_computes_what_it_alone_needs_and_greys_are_labels():
    model, images = build(SMALL), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert model.run(images).supervised is None
    outputs = model.train().run(images)
    grey = torch.rand(2, 1, 64, 96)
    losses = model.losses(outputs, dict(mask=grey))
    assert [*losses] == [*LOSSES]
    labels = model.losses(outputs, dict(mask=(grey > 0.5).float()))
    assert all(torch.equal(losses[name], labels[name]) for name in losses)
    probability = model.probability(outputs)
    assert probability.shape == (2, 1, 64, 96)
    torch.testing.assert_close(
        probability, (outputs.logits[:, 1:] - outputs.logits[:, :1]).sigmoid()
    )
