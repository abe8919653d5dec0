"""Contract of all baselines: each folder of configs with a metafile.yml, in its small variants."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, draw_samples
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from mmseg.models.backbones import ResNet, SwinTransformer
from mmseg.registry import MODELS

from mmdiffdis.apis import DISInferencer
from mmdiffdis.apis.configs import image_transforms
from mmdiffdis.apis.hub import save_repository
from mmdiffdis.checkpoints import CheckpointError, explain_misfits, save_weights

METAFILES = [
    file
    for file in sorted((ROOT / 'configs').glob('*/metafile.yml'))
    if file.parent.name not in ('diffdis', 'vae')
]
FAMILIES = [sorted(file.parent.glob('*synthetic-dis-128x128.py')) for file in METAFILES]
SMALL = [config for configs in FAMILIES for config in configs]
VERIFIED = (
    'published file loaded and compared',
    'names and numbers compared',
    'from the paper',
    'no published weights',
)
SIDE = 128


def randomize(model, seed):
    torch.manual_seed(seed)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        kept = 'running' in name or name.endswith('settings')
        if value.is_floating_point() and not kept:  # also what starts at zero
            torch.nn.init.normal_(value.data, std=0.02).add_(value.data.ndim == 1)
    return model


def images(size=2, height=SIDE, width=SIDE):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(size, 3, height, width, generator=generator)


def assert_same_weights(model, other, except_for=()):
    weights = other.state_dict()
    for name, tensor in model.state_dict().items():
        if not name.startswith(except_for):
            assert torch.equal(weights[name], tensor), name


def without_weights(settings):
    """Removes each `init_cfg`, whose files are not there."""
    for value in settings.values():
        if isinstance(value, dict):
            without_weights(value)
    if settings.get('init_cfg'):
        settings['init_cfg'] = None


@pytest.fixture(scope='module', params=SMALL, ids=lambda path: path.stem)
def built(request):
    init_default_scope('mmseg')
    return randomize(MODELS.build(Config.fromfile(request.param).model), seed=0)


@pytest.fixture
def model(built):
    return deepcopy(built)


@pytest.fixture
def baseline(model):
    """A model of ours: a subclass of `DISBaseline`."""
    if not hasattr(model, 'PUBLISHED'):
        pytest.skip('a stock segmentor of mmseg')
    return model


@pytest.mark.parametrize('file', METAFILES, ids=lambda path: path.parent.name)
def test_metafile_and_readme_name_source_and_licence(file):
    meta = yaml.safe_load(file.read_text())
    (collection,) = meta['Collections']
    assert {'Name', 'License', 'Paper', 'Code', 'README'} <= collection.keys()
    metadata = collection['Metadata']
    assert {'Weights License', 'Training Data License', 'Training Data'} <= metadata.keys()
    assert metadata['Verified'] in VERIFIED
    readme = (ROOT / collection['README']).read_text()
    assert '## Licence' in readme and '## Weights' in readme
    configs = {model['Config'] for model in meta['Models']}
    assert configs == {str(path.relative_to(ROOT)) for path in file.parent.glob('*.py')}
    assert any(path.parent == file.parent for path in SMALL), 'no small variant'


def test_maps_are_at_most_of_the_inputs_size_also_at_odd_sizes(model):
    height, width = 133, 167
    if not hasattr(model, 'PUBLISHED'):  # mmseg's PIDNet takes multiples of 8
        height, width = height // 8 * 8, width // 8 * 8
    with torch.no_grad():
        maps = model.eval()(images(2, height, width), draw_samples(2, SIDE), mode='tensor')
    for result in maps if isinstance(maps, (list, tuple)) else [maps]:
        assert result.shape[0] == 2 and result.shape[-2] <= height and result.shape[-1] <= width
        assert result.isfinite().all()


@pytest.mark.slow
def test_masks_of_a_published_repository_are_the_same(model, request, tmp_path):
    path = request.node.callspec.params['built']
    if 'gt-encoder' in path.name:
        pytest.skip('it predicts from the ground truth')
    config = Config.fromfile(path)
    save_repository(tmp_path / 'a', 'a', model, config, 'mit', None)
    inferencer = DISInferencer.from_pretrained(tmp_path / 'a', device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    mask = inferencer(image).mask
    # `randomize` has changed its mean and standard deviation, which are not saved
    model.data_preprocessor = inferencer.model.data_preprocessor
    inferencer.model, inferencer.pipeline = model.eval(), Compose(image_transforms(config))
    np.testing.assert_array_equal(mask, inferencer(image).mask)


def test_every_trainable_parameter_receives_a_gradient(model):
    losses, _ = model.parse_losses(model.train().loss(images(), draw_samples(2, SIDE)))
    losses.backward()
    assert losses.isfinite()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert not without


def test_ground_truth_of_another_size_than_the_images_is_refused(baseline):
    with pytest.raises(ValueError, match=r'\(128, 160\) with a ground-truth mask of \(128, 128\)'):
        baseline.train().loss(images(2, SIDE, 160), draw_samples(2, SIDE))


def test_predicts_at_the_original_size_and_upright(model):
    model.eval()
    if hasattr(model, 'PUBLISHED'):
        model.test_cfg['min_max'] = False  # stretching enlarges rounding errors
    sizes = dict(img_shape=(SIDE, SIDE), ori_shape=(75, 93))
    flip = dict(flip=True, flip_direction='horizontal')
    with torch.no_grad():
        (upright,) = model.predict(images(1), draw_samples(1, SIDE, **sizes))
        (flipped,) = model.predict(images(1), draw_samples(1, SIDE, **sizes, **flip))
    probability = upright.seg_logits.data
    assert probability.shape[-2:] == (75, 93)
    torch.testing.assert_close(flipped.seg_logits.data, probability.flip(-1), atol=1e-5, rtol=0)
    if len(probability) == 1:
        assert 0 <= probability.min() < probability.max() <= 1
        assert torch.equal(upright.pred_sem_seg.data, (probability > 0.5).long())


@torch.no_grad()
def test_maps_are_stretched_where_the_config_says_so(baseline):
    (sample,) = baseline.eval().predict(images(1), draw_samples(1, SIDE))
    probability = sample.seg_logits.data
    stretched = probability.min() == 0 and probability.max() == 1
    assert bool(stretched) == baseline.test_cfg['min_max']


def test_saved_weights_are_loaded_strictly(model, tmp_path):
    other = randomize(deepcopy(model), seed=1)
    load_checkpoint(other, str(save_weights(model, tmp_path / 'a.safetensors')), strict=True)
    assert_same_weights(model, other)


@pytest.mark.slow
def test_published_weights_are_loaded_strictly_with_or_without_wrappers(baseline, tmp_path):
    for wrapper in ('', 'module.', 'module._orig_mod.'):
        weights = {f'{wrapper}{name}': tensor for name, tensor in baseline.to_published().items()}
        assert not set(weights) & set(baseline.state_dict())
        torch.save(weights, tmp_path / 'published.pth')
        other = randomize(deepcopy(baseline), seed=1)
        load_checkpoint(other, str(tmp_path / 'published.pth'), strict=True)
        assert_same_weights(baseline, other, except_for=baseline.PUBLISHED.training_only)


@pytest.mark.slow
def test_backbones_start_from_their_pretrained_weights(baseline, tmp_path):
    other = randomize(deepcopy(baseline), seed=1)
    backbones = {
        name: module
        for name, module in other.named_modules()
        if isinstance(module, (ResNet, SwinTransformer))
    }
    if not backbones:
        pytest.skip('no backbone')
    for name, module in backbones.items():
        path = save_weights(baseline.get_submodule(name), tmp_path / f'{name}.safetensors')
        module.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    other.init_weights()
    for name, module in backbones.items():
        assert_same_weights(baseline.get_submodule(name), module)


def test_published_weights_that_do_not_fit_are_named(baseline, tmp_path):
    weights = baseline.to_published()
    missing, misshapen = [name for name, x in reversed(weights.items()) if x.ndim == 4][:2]
    weights['some.thing'] = weights.pop(missing)
    weights[misshapen] = weights[misshapen][..., :0]
    path = save_weights(weights, tmp_path / 'published.safetensors')
    with pytest.raises(CheckpointError) as caught, explain_misfits(path):
        load_checkpoint(baseline, str(path), strict=True)
    for misfit in ('missing', 'unexpected', 'size mismatch', 'some.thing'):
        assert misfit in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('path', [configs[0] for configs in FAMILIES], ids=lambda path: path.stem)
def test_trains_two_steps_and_is_scored_by_the_same_metrics(path, tmp_path, write_set):
    cfg = Config.fromfile(path)
    without_weights(cfg.model)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.default_hooks.checkpoint = None  # whose text of the config takes seconds
    cfg.merge_from_dict({'train_dataloader.batch_size': 2, 'train_cfg.max_iters': 2})
    root = str(write_set(tmp_path / 'data'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.merge(dict(num_workers=0, persistent_workers=False))
        loader.dataset.merge(dict(data_root=root, subset='DIS-VD'))
    cfg.train_cfg.val_interval = 3  # scored below
    runner = Runner.from_cfg(cfg)
    runner.train()
    scores = runner.val()
    assert {'maxF', 'MAE'} <= scores.keys()
    assert 0 < scores['MAE'] < 1
