"""MVANet: the numbers of the released implementation, and what it adds to them."""

from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, normal
from golden_baselines import golden_weights, load_golden
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmseg.registry import MODELS

from mmdiffdis.checkpoints.published import PublishedNames
from mmdiffdis.models.baselines.mvanet import join, positions, split, structure_loss


def build(name):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    config = Config.fromfile(ROOT / 'configs' / 'mvanet' / f'{name}.py').model
    config.data_preprocessor = None
    return MODELS.build(config).eval()


@pytest.fixture(scope='module')
def released():
    """The golden numbers, the model with their weights, and what it makes of their image."""
    golden = load_golden('mvanet')
    seed = golden.meta['seed']
    model = build('mvanet_swin-b_1xb1-80e_dis5k-1024x1024')
    weights = golden_weights('mvanet', seed, golden.meta['rules'])
    model.load_state_dict({**model.to_published(), **weights})
    image = normal(seed + 1, golden.meta['inputs']['x'])
    mask = (normal(seed + 2, (1, 1, *image.shape[2:])) > 0.3).float()
    outputs = model.run(image)
    losses = model.losses(outputs, dict(mask=mask))
    return SimpleNamespace(golden=golden, model=model, outputs=outputs, losses=losses)


@pytest.fixture(scope='module')
def small():
    return build('mvanet_small_1xb16-1k2_synthetic-dis-128x128')


def test_maps_equal_the_released(released):
    outputs = released.outputs
    maps = {'logits': outputs.logits}
    maps |= {f'side{i + 1}': logits for i, logits in enumerate(outputs.near)}
    maps |= {f'glb{i + 1}': logits for i, logits in enumerate(outputs.far)}
    maps |= {f'tok{i + 1}': weights for i, weights in enumerate(outputs.attention)}
    for name, result in maps.items():
        assert released.golden.error(name, result) < 1e-4, name
    assert len(maps) == 1 + 5 + 5 + 4


def test_losses_and_gradients_equal_the_released(released):
    losses, golden = released.losses, released.golden
    results = dict(
        loc=losses['loss_mask'] + losses['loss_near'],
        glb=losses['loss_far'] / 0.3,
        map=losses['loss_attention'] / 0.3,
        final=losses['loss_mask'],
        total=sum(losses.values()),
    )
    for name, result in results.items():
        assert result.item() == pytest.approx(golden.raw[f'loss.eval_{name}'], rel=1e-5), name
    figures = golden.gradients('eval_total')
    names = PublishedNames(released.model.PUBLISHED_PREFIXES)
    parameters = [released.model.get_parameter(names.our_name(name)) for name in figures]
    gradients = torch.autograd.grad(results['total'], parameters)
    for gradient, (name, (norm, _)) in zip(gradients, figures.items(), strict=True):
        assert gradient.norm().item() == pytest.approx(norm, rel=1.5e-3), name


def test_released_names_are_all_there_is(released):
    published = released.model.to_published()
    golden = golden_weights('mvanet', 0, [])
    assert {n: t.shape for n, t in published.items()} == {n: t.shape for n, t in golden.items()}


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other(small):
    images = torch.randn(3, 3, 128, 256)
    together = small(images)
    for one, alone in zip(together, (small(image[None]) for image in images), strict=True):
        torch.testing.assert_close(one, alone[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_sides_that_cannot_be_split_are_repeated_at_the_border(small):
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
    path = ROOT / 'configs' / 'mvanet' / 'mvanet_swin-b_1xb1-80e_dis5k-1024x1024.py'
    config = Config.fromfile(path)
    optimizer = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build({**config.param_scheduler, 'optimizer': optimizer})
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates += optimizer.get_lr()['lr']
        scheduler.step()
    # The released training multiplies after the 60th epoch and each later one.
    assert rates == pytest.approx([1e-5 * 0.9 ** max(0, epoch - 60) for epoch in range(1, 81)])


def test_structure_loss_of_a_plain_mask_is_cross_entropy_and_iou():
    # A mask of zeros equals its neighbourhood, also at the border: all weights are 1.
    logits, truth = torch.full((1, 1, 64, 64), 0.5), torch.zeros(1, 1, 64, 64)
    probability = logits.sigmoid()
    entropy = -(1 - probability).log().mean()
    iou = 1 - 1 / (probability.sum() + 1)
    torch.testing.assert_close(structure_loss(logits, truth), entropy + iou)
