"""What every baseline does: each folder of configs with a metafile.yml, in its small variants."""

import pytest
import torch
import yaml
from conftest import ROOT, draw_samples
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from mmseg.registry import MODELS

from mmdiffdis.checkpoints import CheckpointError, explain_misfits, save_weights

METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yml'))
SMALL = [
    config for file in METAFILES for config in sorted(file.parent.glob('*synthetic-dis-128x128.py'))
]
SIDE = 128


def build(config, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build(Config.fromfile(config).model)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point() and 'running' not in name:  # what starts at zero, too
            torch.nn.init.normal_(value.data, std=0.02).add_(value.data.ndim == 1)
    return model


def images(size=2, height=SIDE, width=SIDE):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(size, 3, height, width, generator=generator)


def assert_same_weights(model, other, but=()):
    theirs = other.state_dict()
    for name, tensor in model.state_dict().items():
        if not name.startswith(but):
            assert torch.equal(theirs[name], tensor), name


def without_weights(settings):
    """The same settings, with nothing to start from that would have to be there."""
    for value in settings.values():
        if isinstance(value, dict):
            without_weights(value)
    if settings.get('init_cfg'):
        settings['init_cfg'] = None
    return settings


def has_published_names(config):
    return hasattr(MODELS.get(Config.fromfile(config).model.type), 'to_published')


@pytest.fixture(params=SMALL, ids=lambda path: path.stem)
def config(request):
    return request.param


@pytest.fixture
def published(config, tmp_path):
    """A model, and a file with its weights under their published names."""
    if not has_published_names(config):
        pytest.skip('its checkpoints have the names of mmseg')
    model = build(config)
    return model, save_weights(model.to_published(), tmp_path / 'published.safetensors')


@pytest.mark.parametrize('file', METAFILES, ids=lambda path: path.parent.name)
def test_metafile_and_readme_tell_the_source_and_the_licence(file):
    meta = yaml.safe_load(file.read_text())
    (collection,) = meta['Collections']
    assert {'Name', 'License', 'Paper', 'Code', 'README'} <= collection.keys()
    readme = (ROOT / collection['README']).read_text()
    assert '## Licence' in readme and '## Weights' in readme
    listed = {model['Config'] for model in meta['Models']}
    assert listed == {str(path.relative_to(ROOT)) for path in file.parent.glob('*.py')}
    assert any(path.parent == file.parent for path in SMALL), 'no small variant'


@pytest.mark.parametrize('height, width', [(SIDE, SIDE), (133, 167)])
def test_probabilities_of_the_inputs_size_or_less_at_odd_sizes(config, height, width):
    if not has_published_names(config):  # mmseg's PIDNet takes multiples of 8
        height, width = height // 8 * 8, width // 8 * 8
    model, samples = build(config).eval(), draw_samples(2, SIDE)
    with torch.no_grad():
        maps = model(images(2, height, width), samples, mode='tensor')
    maps = maps[0] if isinstance(maps, tuple) else maps
    assert maps.shape[0] == 2 and maps.shape[-2] <= height and maps.shape[-1] <= width
    assert maps.isfinite().all()


def test_every_trainable_parameter_receives_a_gradient(config):
    model = build(config).train()
    losses, _ = model.parse_losses(model.loss(images(), draw_samples(2, SIDE)))
    losses.backward()
    assert losses.isfinite()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    ]
    assert not without


def test_truths_of_another_size_than_the_images_are_named(config):
    if not has_published_names(config):
        pytest.skip("a segmentor of mmseg, whose preprocessor pads what it's trained by")
    model = build(config).train()
    with pytest.raises(
        ValueError, match=r'images of \(128, 160\) with a true mask of \(128, 128\)'
    ):
        model.loss(images(2, SIDE, 160), draw_samples(2, SIDE))


def test_predicts_at_the_original_size_and_upright(config):
    model, inputs = build(config).eval(), images(1)
    sizes = dict(img_shape=(SIDE, SIDE), ori_shape=(75, 93))
    flip = dict(flip=True, flip_direction='horizontal')
    with torch.no_grad():
        (upright,) = model.predict(inputs, draw_samples(1, SIDE, **sizes))
        (turned,) = model.predict(inputs, draw_samples(1, SIDE, **sizes, **flip))
    probability = upright.seg_logits.data
    assert probability.shape[-2:] == (75, 93)
    torch.testing.assert_close(turned.seg_logits.data, probability.flip(-1), atol=1e-5, rtol=0)
    if len(probability) == 1:
        assert 0 <= probability.min() < probability.max() <= 1
        assert torch.equal(upright.pred_sem_seg.data, (probability > 0.5).long())


def test_saved_weights_are_read_strictly(config, tmp_path):
    model, other = build(config, seed=0), build(config, seed=1)
    load_checkpoint(other, str(save_weights(model, tmp_path / 'a.safetensors')), strict=True)
    assert_same_weights(model, other)


def test_published_weights_are_read_strictly_from_whatever_wrapper(config, published, tmp_path):
    model, _ = published
    for wrapper in ('', 'module.', 'module._orig_mod.'):
        weights = {f'{wrapper}{name}': tensor for name, tensor in model.to_published().items()}
        assert not set(weights) & set(model.state_dict())
        torch.save(weights, tmp_path / 'published.pth')
        other = build(config, seed=1)
        load_checkpoint(other, str(tmp_path / 'published.pth'), strict=True)
        assert_same_weights(model, other, but=model.TRAINING_ONLY)


@pytest.mark.parametrize('spoil', ['unexpected', 'missing', 'size mismatch'])
def test_published_weights_that_do_not_fit_are_named(config, published, tmp_path, spoil):
    model, path = published
    weights = model.to_published()
    name = next(name for name, tensor in reversed(weights.items()) if tensor.ndim == 4)
    if spoil == 'unexpected':
        weights['some.thing'] = torch.zeros(1)
        name = 'some.thing'
    elif spoil == 'missing':
        del weights[name]
    else:
        weights[name] = weights[name][..., :0]
    name = name.rsplit('.', 1)[-1] if spoil != 'unexpected' else name
    save_weights(weights, path)
    with pytest.raises(CheckpointError, match=rf'(?s){spoil}.*{name}'), explain_misfits(path):
        load_checkpoint(model, str(path), strict=True)


def test_trains_and_is_scored_by_the_same_measures(config, tmp_path, write_set):
    cfg = Config.fromfile(config)
    without_weights(cfg.model)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.merge_from_dict({'train_dataloader.batch_size': 2, 'train_cfg.max_iters': 2})
    root = str(write_set(tmp_path / 'data'))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.merge(dict(num_workers=0, persistent_workers=False))
        loader.dataset.merge(dict(data_root=root, subset='DIS-VD'))
    cfg.train_cfg.val_interval = 2
    runner = Runner.from_cfg(cfg)
    runner.train()
    figures = runner.val()
    assert {'maxF', 'MAE'} <= figures.keys()
    assert 0 < figures['MAE'] < 1
