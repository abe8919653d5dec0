"""IS-Net: the numbers of the released implementation, and the two stages of its training."""

import numpy as np
import pytest
import torch
from conftest import ROOT, draw_samples, load_keys, normal
from golden_baselines import golden_weights, load_golden
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmseg.registry import MODELS
from torch.nn import functional as F

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.apis.flops import build_on_meta, count_cost
from mmdiffdis.checkpoints import save_weights

CONFIGS = ROOT / 'configs' / 'isnet'
SMALL = '1xb16-1k2_synthetic-dis-128x128.py'


def model_config(name: str):
    return Config.fromfile(CONFIGS / name).model


def load(model, name, seed, rules):
    load_state_dict(model, golden_weights(name, seed, rules), strict=True)
    return model.eval()


@pytest.fixture(scope='module')
def golden():
    return load_golden('isnet')


@pytest.fixture(scope='module')
def full_size(golden):
    """The model of both stages, with the golden numbers' weights under their published names."""
    init_default_scope('mmseg')
    model = MODELS.build(model_config('isnet_1xb8_dis5k-1024x1024.py'))
    meta = golden.meta
    load(
        model.gt_encoder,
        'isnet_gtencoder',
        meta['gt_encoder_seed'],
        meta['gt_encoder_rules'],
    )
    return load(model, 'isnet', meta['seed'], meta['rules'])


@pytest.fixture
def batch(golden):
    shape = golden.meta['inputs']['x']
    image = normal(golden.meta['seed'] + 1, shape)
    mask = (normal(golden.meta['seed'] + 2, (shape[0], 1, *shape[2:])) > 0.3).float()
    return image, mask


@torch.no_grad()
def test_maps_are_the_released_ones(golden, full_size, batch):
    outputs = full_size.run(batch[0])
    for i in range(6):
        assert golden.error(f'd{i + 1}', outputs.logits[i].sigmoid()) < 1e-4
        assert golden.error(f'f{i + 1}', outputs.features[i]) < 1e-4
    torch.testing.assert_close(full_size.probability(outputs), outputs.logits[0].sigmoid())


def test_losses_and_gradients_are_the_released_ones(golden, full_size, batch):
    image, mask = batch
    losses = full_size.losses(full_size.run(image), {'mask': mask})
    assert [*losses] == [f'loss_{kind}{i}' for kind in ('side', 'feature') for i in range(1, 7)]
    total = sum(losses.values())
    sides = sum(loss for name, loss in losses.items() if 'side' in name)
    assert losses['loss_side1'].item() == pytest.approx(golden.raw['loss.eval_tar'], rel=1e-5)
    assert sides.item() == pytest.approx(golden.raw['loss.eval_total'], rel=1e-5)
    assert total.item() == pytest.approx(golden.raw['loss.eval_total_interm'], rel=1e-5)
    names = golden.gradients('eval_total_interm')
    parameters = [full_size.network.get_parameter(name) for name in names]
    for gradient, figures in zip(
        torch.autograd.grad(total, parameters), names.values(), strict=True
    ):
        assert gradient.norm().item() == pytest.approx(figures[0], rel=2e-3)
    assert all(parameter.grad is None for parameter in full_size.gt_encoder.parameters())


def test_losses_in_training_mode_are_the_released_ones(golden, full_size, batch):
    image, mask = batch
    state = {name: tensor.clone() for name, tensor in full_size.state_dict().items()}
    full_size.train()
    assert not any(module.training for module in full_size.gt_encoder.modules())
    with torch.no_grad():
        losses = full_size.losses(full_size.run(image), {'mask': mask})
    full_size.eval().load_state_dict(state)  # the statistics have moved
    total = sum(losses.values()).item()
    assert total == pytest.approx(golden.raw['loss.train_total_interm'], rel=1e-3)


def test_encoder_of_masks_is_the_released_one():
    golden = load_golden('isnet_gtencoder')
    model = MODELS.build(model_config('isnet_gt-encoder_1xb8_dis5k-1024x1024.py'))
    load(model, 'isnet_gtencoder', golden.meta['seed'], golden.meta['rules'])
    (shape,) = golden.meta['inputs'].values()
    mask = (normal(golden.meta['seed'] + 1, shape) > 0).float()
    with torch.no_grad():
        outputs = model.network(mask)
        losses = model.losses(outputs, {'mask': mask})
    for i in range(6):
        assert golden.error(f'd{i + 1}', outputs.logits[i].sigmoid()) < 1e-4
        assert golden.error(f'f{i + 1}', outputs.features[i]) < 1e-4
    total = sum(losses.values()).item()
    assert total == pytest.approx(golden.raw['loss.eval_total'], rel=1e-5)


@pytest.mark.parametrize(
    'config, name',
    [
        ('isnet_1xb8_dis5k-1024x1024.py', 'isnet'),
        ('isnet_gt-encoder_1xb8_dis5k-1024x1024.py', 'isnet_gtencoder'),
    ],
)
def test_published_names_are_the_released_ones(config, name):
    published = build_on_meta(model_config(config)).to_published()
    shapes = {key: list(tensor.shape) for key, tensor in published.items()}
    assert shapes == load_keys(f'baselines/{name}_keys.json')


def test_second_stage_starts_from_the_first(tmp_path):
    first = MODELS.build(model_config(f'isnet_small_gt-encoder_{SMALL}'))
    path = save_weights(first, tmp_path / 'first.safetensors')
    config = model_config(f'isnet_small_feature-supervision_{SMALL}')
    config.gt_encoder.init_cfg.checkpoint = str(path)
    second = MODELS.build(config)
    second.init_weights()
    taken = second.gt_encoder.state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.equal(taken[name], tensor), name


def test_without_an_encoder_of_masks_features_are_free():
    model = MODELS.build(model_config(f'isnet_small_{SMALL}'))
    losses = model.loss(torch.randn(2, 3, 64, 64), draw_samples(2, 64))
    assert [*losses] == [f'loss_side{i}' for i in range(1, 7)]


def test_encoder_of_masks_takes_truths_of_any_size_and_asks_for_them():
    model = MODELS.build(model_config(f'isnet_small_gt-encoder_{SMALL}')).eval()
    images = torch.zeros(2, 3, 64, 64)
    samples = [draw_samples(1, side, ori_shape=(side, side))[0] for side in (64, 90)]
    with torch.no_grad():
        sizes = [sample.seg_logits.shape for sample in model.predict(images, samples)]
        shrunk = F.interpolate(samples[1].gt_alpha.data[None], (64, 64), mode='area')
        map_of_shrunk = model.network(shrunk).logits[0].sigmoid()
    assert sizes == [(64, 64), (90, 90)]
    assert (map_of_shrunk - model(images, samples, mode='tensor')[1]).abs().max() < 0.1
    with pytest.raises(ValueError, match='takes data samples with masks'):
        model(images, mode='tensor')


def test_training_samples_without_masks_are_refused():
    model = MODELS.build(model_config(f'isnet_small_{SMALL}'))
    samples = draw_samples(2, 64)
    del samples[1].gt_alpha
    with pytest.raises(ValueError, match=r"without 'gt_alpha'.*LoadDISAnnotations"):
        model.loss(torch.randn(2, 3, 64, 64), samples)


@pytest.mark.parametrize('part', ['train', 'test'])
def test_images_are_shrunk_without_smoothing(part):
    image = np.random.default_rng(0).integers(0, 256, (2100, 1300, 3), np.uint8)
    config = Config.fromfile(CONFIGS / 'isnet_1xb8_dis5k-1024x1024.py')
    steps = without_loading(config[f'{part}_dataloader'].dataset.pipeline)
    steps = [step for step in steps if step.type != 'RandomFlip']
    results = Compose(steps)(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    channels_first = torch.from_numpy(image).permute(2, 0, 1).float()
    expected = F.interpolate(channels_first[None], (1024, 1024), mode='bilinear')[0]
    # Rounded, where the release cuts off.
    assert (results['inputs'].float() - expected).abs().max() < 1


def test_maps_are_stretched_where_the_released_test_does():
    model = MODELS.build(model_config(f'isnet_small_{SMALL}')).eval()
    with torch.no_grad():
        (sample,) = model.predict(torch.randn(1, 3, 64, 64))
    assert sample.seg_logits.data.min() == 0 and sample.seg_logits.data.max() == 1


def test_costs_are_those_of_the_network_alone():
    config = model_config('isnet_1xb8_dis5k-1024x1024.py')
    cost = count_cost(build_on_meta(config), (1024, 1024))
    assert cost.total_parameters == sum(
        np.prod(shape)
        for name, shape in load_keys('baselines/isnet_keys.json').items()
        if 'running' not in name and 'batches' not in name
    )
    assert cost.total_flop == pytest.approx(0.3193e12, rel=1e-3)
