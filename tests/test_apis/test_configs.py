"""The config reader that all tools share."""

import os
import re
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config, ConfigDict

from mmdiffdis.apis import configs
from mmdiffdis.apis.configs import (
    image_transforms,
    load_config,
    predicts_edges,
    with_test_options,
)

NAME = 'diffdis_tiny_1xb8-1k2_synthetic-dis-384x384'


@pytest.fixture
def small(tmp_path) -> Path:
    path = tmp_path / 'small.py'
    path.write_text(
        "model = dict(type='X', sizes=[1, 2], steps=[dict(n=0)], name='a')\ntrain_cfg = dict(n=1)\n"
    )
    return path


def test_path_name_config_and_dict_are_the_same_config():
    by_name = load_config(NAME)
    path = Path(by_name.filename)
    assert path.stem == NAME and path.is_relative_to(ROOT / 'configs')
    plain = Config.fromfile(path)
    expected = plain.to_dict() | {'work_dir': f'work_dirs/{NAME}'}
    for config in (by_name, load_config(path), load_config(str(path)), load_config(plain)):
        assert config.to_dict() == expected
    assert load_config(plain.to_dict()).model.to_dict() == expected['model']
    assert 'work_dir' not in plain, 'the config of the caller is not changed'


def test_options_are_read_like_dict_action(small):
    options = ['model.name=b', 'model.sizes=[3,(4,5)]', 'train_cfg.n=2.5', 'work_dir=a=b']
    options += ['model.flag=true', 'model.nothing=None', 'model.steps.0.n=7']
    config = load_config(small, options=options)
    assert config.model.to_dict() == dict(
        type='X', name='b', sizes=[3, (4, 5)], steps=[dict(n=7)], flag=True, nothing=None
    )
    assert config.train_cfg.n == 2.5 and config.work_dir == 'a=b'


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """Messages that are logged."""
    logged = []
    monkeypatch.setattr(configs, 'print_log', lambda message, **_: logged.append(message))
    return logged


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('my photos', 'my photos'),
        ('/a b,c/set 1', '/a b,c/set 1'),
        ("it's, one", "it's, one"),
        ("'1,2'", '1,2'),
        ('"7"', '7'),
        ('(old) set (2)', '(old) set (2)'),
        ('a (1, b', 'a (1, b'),
        ('1024,768', [1024, 768]),
        ("[x y,'a,b',(1,None)]", ['x y', 'a,b', (1, None)]),
        ('[]', []),
        ('-1e-3', -1e-3),
        ('~/a b', os.path.expanduser('~/a b')),
    ],
)
def test_spaces_and_commas_are_parts_of_text(small, text, value):
    assert load_config(small, options=[f'model.name={text}']).model.name == value


def test_commas_separate_what_is_a_list_in_the_config(small):
    assert load_config(small, options=['model.sizes=a b,c']).model.sizes == ['a b', 'c']


@pytest.mark.parametrize(
    ('option', 'key'),
    [
        ('max_iters=2', 'train_cfg.max_iters'),
        ('data_root=photos', 'train_dataloader.dataset.data_root and val_'),
        ('scale=(64,64)', 'tta_pipeline.1.transforms.0.1.scale and train_dataloader.dataset.pip'),
        ('test_pipeline.1.scale=(64,64)', r'val_.* and test_dataloader.dataset.pipeline.1.scale$'),
        ('data_preprocessor.min_max=True', 'model.data_preprocessor.min_max'),
        ('dataset_type=X', ''),
    ],
)
def test_option_that_changes_nothing_is_refused_with_the_key_that_works(option, key):
    hint = f'set {key}' if key else 'change it in a config of your own'
    with pytest.raises(ValueError, match=f'{option.split("=")[0]} changes nothing: .*; {hint}'):
        load_config(NAME, options=[option])


@pytest.mark.parametrize('iterations', [1, 2, 600, 4800])
def test_schedules_follow_the_length_of_training(iterations, messages):
    config = load_config(NAME, options=[f'train_cfg.max_iters={iterations}'])
    warmup, decay = config.param_scheduler
    assert warmup.begin == 0 and warmup.end == decay.begin == max(1, round(iterations / 24))
    assert decay.end == max(2, iterations)
    assert 'schedules follow the length of training, 1200 -> ' in messages[0]
    config = load_config(NAME, options=['train_cfg.max_iters=9', 'param_scheduler.0.end=2'])
    assert [scheduler.end for scheduler in config.param_scheduler] == [2, 1200]


def test_leftovers_of_a_base_are_said(tmp_path, messages):
    for text, expected in (
        ('max_iters = 9', r'max_iters=9 .* nothing uses; .* used is train_cfg\.max_iters=1200'),
        ("data_root = 'photos'", 'data_root=.photos. is a variable that nothing uses'),
        ('train_cfg = dict(max_iters=9)', r'CosineAnnealingLR ends at 1200, after the training \('),
    ):
        path = tmp_path / 'own.py'
        path.write_text(f'_base_ = {load_config(NAME).filename!r}\n{text}\n')
        messages.clear()
        load_config(path)
        assert any(re.search(expected, message) for message in messages), messages


def test_shipped_configs_have_no_leftovers(messages):
    for path in (ROOT / 'configs').rglob('*.py'):
        if '_base_' not in path.parts:
            load_config(path)
    assert not messages


def test_loader_without_workers_keeps_none():
    config = load_config(NAME, options=['train_dataloader.num_workers=0'])
    assert not config.train_dataloader.persistent_workers
    assert config.val_dataloader.persistent_workers


def test_pipeline_of_the_test_is_the_one_that_predicts(messages):
    config = load_config(NAME)
    steps = image_transforms(config)
    assert not messages
    config.test_dataloader.dataset.pipeline[1].scale = (64, 64)
    assert image_transforms(config)[0].scale == (64, 64) != steps[0].scale
    assert 'test_pipeline differs from test_dataloader.dataset.pipeline' in messages[0]
    part = config.test_dataloader.dataset
    config.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[part, part])
    assert image_transforms(config)[0].scale == (64, 64)
    config.test_dataloader.dataset.datasets[1] = dict(part, pipeline=config.test_pipeline)
    with pytest.raises(ValueError, match='in different ways: expected one pipeline'):
        image_transforms(config)


def test_options_may_be_a_dict(small):
    source = Config.fromfile(small)
    assert load_config(source, options={'model.sizes': [3]}).model.sizes == [3]
    assert source.model.sizes == [1, 2]


def test_work_dir_of_the_argument_the_config_and_the_name(small):
    assert load_config(small).work_dir == 'work_dirs/small'
    assert load_config(small, options=['work_dir=there']).work_dir == 'there'
    assert load_config(small, 'here', ['work_dir=there']).work_dir == 'here'


def test_options_overrule_fragments_in_their_order(small, tmp_path):
    fragments = [tmp_path / 'one.py', tmp_path / 'two.py']
    for path, n in zip(fragments, (5, 6), strict=True):
        path.write_text(f'train_cfg = dict(n={n})\n')
    assert load_config(small, fragments=fragments).train_cfg.n == 6
    assert load_config(small, options=['train_cfg.n=7'], fragments=fragments).train_cfg.n == 7


@pytest.mark.parametrize('option', ['model', '=model', 'model='])
def test_option_without_key_or_value(small, option):
    with pytest.raises(ValueError, match=f"--cfg-options: got '{option}', expected KEY=VALUE"):
        load_config(small, options=[option])


@pytest.mark.parametrize(
    ('option', 'hint'),
    [('modle.name=b', 'did you mean model'), ('xyzzy=1', 'there are: model, train_cfg')],
)
def test_option_with_an_unknown_key(small, option, hint):
    with pytest.raises(ValueError, match=f'unknown key {option.split(".")[0].split("=")[0]} in'):
        load_config(small, options=[option])
    with pytest.raises(ValueError, match=hint):
        load_config(small, options=[option])


def test_config_that_does_not_exist(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match='diffdis_tin does not exist: .* u2netp, .*; did you mean diffdis_tiny or ',
    ):
        load_config('diffdis_tin')
    with pytest.raises(FileNotFoundError, match=f'config {tmp_path} is a folder: expected a .py'):
        load_config(tmp_path)


def test_config_by_the_name_of_a_shipped_model():
    assert Path(load_config('diffdis_tiny').filename).stem == NAME


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        (dict(type='DiffusionSegmentor'), True),
        (dict(type='DiffusionSegmentor', edge=False), False),
        (dict(type='ISNet'), False),
    ],
)
def test_edges_are_asked_of_models_that_predict_them(model, expected):
    model = ConfigDict(model)
    assert predicts_edges(model) is expected
    for edge in (False, True):
        asked = with_test_options(model, edge=edge).get('test_cfg', {})
        assert asked.get('edge', False) is (edge and expected)
