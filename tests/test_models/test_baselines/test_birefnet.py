"""BiRefNet: the numbers of the released implementation, and its parts against plain formulas."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT, draw_samples, relative_error
from mmengine.config import Config
from mmengine.dataset import Compose
from scipy.ndimage import correlate
from torch.nn.parallel import DistributedDataParallel

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.checkpoints import save_weights
from mmdiffdis.models.baselines.birefnet.hooks import RegionFinetuneHook
from mmdiffdis.models.baselines.birefnet.network import resize, stack_patches
from mmdiffdis.models.baselines.birefnet.segmentor import BiRefNetLoss, laplacian

CONFIGS = ROOT / 'configs' / 'birefnet'
SMALL = 'birefnet/birefnet_small_1xb16-1k2_synthetic-dis-128x128'
# the release's numbers of the levels, in our order: coarse to fine
LEVELS = (4, 3, 2)


class TestBiRefNetLite(BaselineTester):
    NAME = 'birefnet_swin_t'
    CONFIG = 'birefnet/birefnet-lite_swin-t_1xb4-600e_dis5k-1024x1024'
    TOLERANCE = 3e-5  # two back ends of convolutions differ by 8e-6
    SUM_TOLERANCE = 1e-3

    def maps(self, released):
        model, image = released.model, released.images
        maps = model.network.encode(image)
        context = torch.cat([resize(level, maps[-1].shape[-2:]) for level in maps], dim=1)
        results = {f'enc{i + 1}': level for i, level in enumerate((*maps[:3], context))}
        results['squeeze'] = model.network.localise(context)
        results['logits'], sides = model.network(image)
        for level, (mask, gradient) in zip(LEVELS, sides, strict=True):
            label = laplacian(image) * resize(mask, image.shape[-2:])
            results |= {f'm{level}': mask, f'gdt_pred{level}': gradient, f'gdt_label{level}': label}
        assert torch.equal(model(image, mode='tensor'), results['logits'].sigmoid())
        return results

    def losses(self, released):
        losses, masks = released.losses, len(LEVELS) + 1
        total = sum(losses.values())
        return dict(
            eval_total=total,
            eval_gdt=losses['loss_gradient'],
            eval_pix=total - losses['loss_gradient'],
            eval_pix_mean_bce=losses['loss_bce'] / masks,
            eval_pix_mean_iou=losses['loss_iou'] / masks,
            eval_pix_mean_ssim=losses['loss_ssim'] / masks,
        )

    @torch.no_grad()
    def test_maps_with_the_patch_order_of_old_releases_equal_those(self, released):
        model = build(self.CONFIG, patch_order='column-row-channel')
        model.load_state_dict(released.model.state_dict())
        logits = model.network(released.images)[0]
        assert released.golden.error('logits_legacy_patch_order', logits) < self.TOLERANCE
        new_logits = released.model.network(released.images)[0]
        assert relative_error(new_logits, logits.numpy()) > 0.01


# ----------------------------------------------------------------------------------- its parts


def test_patches_become_channels_in_either_order():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    new = stack_patches(images, (2, 3), 2, 'channel-row-column')
    old = stack_patches(images, (2, 3), 2, 'column-row-channel')
    for channel, row, column in np.ndindex(3, 2, 2):
        rows, columns = slice(2 * row, 2 * row + 2), slice(3 * column, 3 * column + 3)
        patch = images[:, channel, rows, columns]
        assert torch.equal(new[:, (channel * 2 + row) * 2 + column], patch)
        assert torch.equal(old[:, (column * 2 + row) * 3 + channel], patch)


def test_unknown_patch_order_is_named():
    with pytest.raises(ValueError, match=r"'rgb': expected one of .*column-row-channel"):
        build(SMALL, patch_order='rgb')


def test_backbone_is_initialised_from_a_file(tmp_path):
    source = build(SMALL).network.backbone
    path = save_weights(source, tmp_path / 'swin.safetensors')
    init = dict(type='Pretrained', checkpoint=str(path), _delete_=True)
    model = build(SMALL, **{'backbone.init_cfg': init})
    torch.nn.init.zeros_(model.network.backbone.norm3.weight)
    model.init_weights()
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.network.backbone.state_dict()[name], tensor), name


@pytest.mark.parametrize('config', sorted(CONFIGS.glob('*dis5k*.py')), ids=lambda path: path.stem)
def test_images_are_resized_as_opencv_does_bilinearly(config):
    image = np.random.default_rng(0).integers(0, 256, (2100, 1300, 3), np.uint8)
    pipeline = Config.fromfile(config).test_dataloader.dataset.pipeline
    steps = without_loading(pipeline)
    results = Compose(steps)(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    side = 2048 if 'hr' in config.stem else 1024
    expected = cv2.resize(image, (side, side))
    np.testing.assert_array_equal(results['inputs'].permute(1, 2, 0), expected)


# -------------------------------------------------------------------------------- its training


def test_laplacian_is_scipys_correlation():
    images = torch.randn(2, 3, 9, 11)
    kernel = np.ones((5, 5))
    kernel[2, 2] = -24
    for image, result in zip(images, laplacian(images), strict=True):
        expected = correlate(image.mean(0).numpy(), kernel / 48, mode='mirror')
        np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-6)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    sides = [
        tuple(torch.randn(2, 1, side, side, requires_grad=True) for _ in range(2))
        for side in (4, 8, 16)
    ]
    mask = torch.randn(2, 1, 64, 64, requires_grad=True)
    return torch.randn(2, 3, 64, 64), mask, sides, torch.rand(2, 1, 64, 64).round()


def test_gradient_loss_trains_the_masks_as_well(batch):
    _, mask, sides, _ = batch
    BiRefNetLoss()(*batch)['loss_gradient'].backward()
    assert all(logits.grad.abs().sum() > 0 for side in sides for logits in side)
    assert mask.grad is None


def test_losses_are_proportional_to_their_weights(batch):
    half = BiRefNetLoss(bce=15.0, iou=0.25, ssim=5.0, gradient=0.5)(*batch)
    for name, loss in BiRefNetLoss()(*batch).items():
        torch.testing.assert_close(loss, 2 * half[name], msg=name)


def test_losses_are_of_single_precision_under_autocast(batch):
    expected = BiRefNetLoss()(*batch)
    with torch.autocast('cpu', torch.bfloat16):
        losses = BiRefNetLoss()(*batch)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert all(torch.equal(loss, expected[name]) for name, loss in losses.items())


def test_last_epochs_are_trained_without_cross_entropy():
    weights = {}
    for start in (0, 8):  # from the beginning, and resumed
        loss = BiRefNetLoss()
        runner = SimpleNamespace(model=SimpleNamespace(criterion=loss), max_epochs=10)
        hook = RegionFinetuneHook(epochs=3)
        hook.before_train(runner)
        for runner.epoch in range(start, 10):
            hook.before_train_epoch(runner)
            current = (loss.bce, loss.iou, loss.ssim)
            assert weights.setdefault(runner.epoch, current) == current
    assert weights[6] == (30.0, 0.5, 10.0)
    assert [weights[epoch] for epoch in (7, 8, 9)] == [
        (0.0, 0.25, 10.0),
        (0.0, 0.125, 10.0),
        (0.0, 0.0625, 10.0),
    ]


@pytest.mark.skipif(os.name == 'nt', reason='gloo over a file')
def test_recomputed_backbone_trains_in_several_processes(tmp_path):
    """The backbone runs twice in a pass, at two sizes, with the same gradients as without."""
    images, samples = torch.rand(2, 3, 64, 64), draw_samples(2, 64)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/group', rank=0, world_size=1
    )
    try:
        plain, model = (build(SMALL, **{'backbone.with_cp': cp}) for cp in (False, True))
        for each in (plain, model):
            each = DistributedDataParallel(each.train())
            for module in each.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.eval()
            losses = each(images, samples, mode='loss')
            sum(losses.values()).backward()
    finally:
        torch.distributed.destroy_process_group()
    for (name, expected), found in zip(plain.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-5, msg=name)
