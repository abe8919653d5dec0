"""IS-Net: the numbers of the released implementation, and the two stages of its training."""

import numpy as np
import pytest
import torch
from baseline_tester import BaselineTester, build
from conftest import ROOT, draw_samples, load_keys, normal
from golden_baselines import golden_weights
from mmengine.config import Config
from mmengine.dataset import Compose
from torch.nn import functional as F

from mmdiffdis.apis.configs import without_loading
from mmdiffdis.apis.flops import build_on_meta, count_cost
from mmdiffdis.checkpoints import save_weights

FULL = 'isnet/isnet_1xb8_dis5k-1024x1024'
SMALL = 'isnet/isnet_small_1xb16-1k2_synthetic-dis-128x128'
SMALL_SUPERVISED = 'isnet/isnet_small_feature-supervision_1xb16-1k2_synthetic-dis-128x128'
SMALL_GT_ENCODER = 'isnet/isnet_small_gt-encoder_1xb16-1k2_synthetic-dis-128x128'


class ISNetTester(BaselineTester):
    GRADIENT_TOLERANCE = 2e-3

    def maps(self, released):
        outputs = released.outputs
        logits = {f'd{i + 1}': logits.sigmoid() for i, logits in enumerate(outputs.logits)}
        return logits | {f'f{i + 1}': feature for i, feature in enumerate(outputs.features)}

    def losses(self, released):
        sides = {name: loss for name, loss in released.losses.items() if 'side' in name}
        return dict(eval_tar=sides['loss_side1'], eval_total=sum(sides.values()))


class TestISNetGTEncoder(ISNetTester):
    NAME = 'isnet_gtencoder'
    CONFIG = 'isnet/isnet_gt-encoder_1xb8_dis5k-1024x1024'

    @classmethod
    def batch(cls, golden):
        mask = (normal(golden.meta['seed'] + 1, golden.meta['inputs']['x']) > 0).float()
        return mask, mask

    @classmethod
    def run(cls, model, images):
        return model.network(images)


class TestISNet(ISNetTester):
    """Both stages: the features are those of the encoder of masks with its golden weights."""

    NAME = 'isnet'
    CONFIG = FULL
    GRADIENTS = 'eval_total_interm'

    @classmethod
    def build(cls, golden):
        model, meta = build(FULL), golden.meta
        weights = golden_weights(
            'isnet_gtencoder', meta['gt_encoder_seed'], meta['gt_encoder_rules']
        )
        model.gt_encoder.load_state_dict(weights)
        return model

    def losses(self, released):
        losses = released.losses
        assert [*losses] == [f'loss_{kind}{i}' for kind in ('side', 'feature') for i in range(1, 7)]
        assert not any(p.requires_grad for p in released.model.gt_encoder.parameters())
        return super().losses(released) | dict(eval_total_interm=sum(losses.values()))

    def test_losses_in_training_mode_equal_the_released(self, released):
        model = released.model
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        model.train()
        assert not any(module.training for module in model.gt_encoder.modules())
        with torch.no_grad():
            losses = model.losses(model.run(released.images), {'mask': released.mask})
        model.eval().load_state_dict(state)  # running statistics have changed
        total = sum(losses.values()).item()
        assert total == pytest.approx(released.golden.raw['loss.train_total_interm'], rel=1e-3)


def test_second_stage_starts_from_the_first(tmp_path):
    first = build(SMALL_GT_ENCODER)
    path = save_weights(first, tmp_path / 'first.safetensors')
    second = build(SMALL_SUPERVISED, **{'gt_encoder.init_cfg.checkpoint': str(path)})
    second.init_weights()
    loaded = second.gt_encoder.state_dict()
    for name, tensor in first.state_dict().items():
        assert torch.equal(loaded[name], tensor), name


def test_features_are_not_supervised_without_an_encoder_of_masks():
    losses = build(SMALL).loss(torch.randn(2, 3, 64, 64), draw_samples(2, 64))
    assert [*losses] == [f'loss_side{i}' for i in range(1, 7)]


def test_encoder_of_masks_takes_masks_of_any_size_and_requires_them():
    model = build(SMALL_GT_ENCODER)
    images = torch.zeros(2, 3, 64, 64)
    samples = [draw_samples(1, side, ori_shape=(side, side))[0] for side in (64, 90)]
    with torch.no_grad():
        sizes = [sample.seg_logits.shape for sample in model.predict(images, samples)]
        shrunk = F.interpolate(samples[1].gt_alpha.data[None], (64, 64), mode='area')
        map_of_shrunk = model.network(shrunk).logits[0].sigmoid()
    assert sizes == [(64, 64), (90, 90)]
    assert (map_of_shrunk - model(images, samples, mode='tensor')[1]).abs().max() < 0.1
    with pytest.raises(ValueError, match='data_samples=None: expected samples with `gt_alpha`'):
        model(images, mode='tensor')


def test_training_samples_without_masks_are_refused():
    samples = draw_samples(2, 64)
    del samples[1].gt_alpha
    with pytest.raises(ValueError, match=r"'gt_alpha'.*LoadDISAnnotations"):
        build(SMALL).loss(torch.randn(2, 3, 64, 64), samples)


@pytest.mark.parametrize('part', ['train', 'test'])
def test_images_are_shrunk_without_antialiasing(part):
    image = np.random.default_rng(0).integers(0, 256, (2100, 1300, 3), np.uint8)
    config = Config.fromfile(ROOT / 'configs' / f'{FULL}.py')
    steps = without_loading(config[f'{part}_dataloader'].dataset.pipeline)
    steps = [step for step in steps if step.type != 'RandomFlip']
    results = Compose(steps)(dict(img=image, img_shape=image.shape[:2], seg_fields=[]))
    channels_first = torch.from_numpy(image).permute(2, 0, 1).float()
    expected = F.interpolate(channels_first[None], (1024, 1024), mode='bilinear')[0]
    # rounded, where the release truncates
    assert (results['inputs'].float() - expected).abs().max() < 1


def test_maps_are_stretched_as_in_the_released_test():
    with torch.no_grad():
        (sample,) = build(SMALL).predict(torch.randn(1, 3, 64, 64))
    assert sample.seg_logits.data.min() == 0 and sample.seg_logits.data.max() == 1


def test_unknown_test_settings_are_refused():
    with pytest.raises(ValueError, match=r"test_cfg has \['minmax'\]: expected only \['min_max'\]"):
        build(SMALL, test_cfg=dict(minmax=True, _delete_=True))


def test_costs_are_those_of_the_network_alone():
    config = Config.fromfile(ROOT / 'configs' / f'{FULL}.py').model
    cost = count_cost(build_on_meta(config), (1024, 1024))
    assert cost.total_parameters == sum(
        np.prod(shape)
        for name, shape in load_keys('baselines/isnet_keys.json').items()
        if 'running' not in name and 'batches' not in name
    )
    assert cost.total_flop == pytest.approx(0.3193e12, rel=1e-3)
