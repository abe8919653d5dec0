"""The config reader that all tools share."""

from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.config import Config

from mmdiffdis.apis.configs import load_config

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
    with pytest.raises(FileNotFoundError, match=f'diffdis_tiny does not exist: .*mean.*{NAME}'):
        load_config('diffdis_tiny')
    with pytest.raises(FileNotFoundError, match=f'config {tmp_path} is a folder: expected a .py'):
        load_config(tmp_path)
