"""Reading configs, and the parts of them that prediction needs."""

import argparse
import copy
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner
from mmseg.registry import MODELS

from ..engine.options import merge_option

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'

# Keys that a config may have beside the arguments of `Runner`, read from `Runner.cfg`.
_OTHER_CONFIG_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'load_partially',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}

# Steps of a test pipeline that read files; `DISInferencer` starts from decoded images.
_LOADING_TRANSFORMS = {
    'LoadImageFromFile',
    'LoadDISImage',
    'LoadAnnotations',
    'LoadDISAnnotations',
    'GenerateDISEdge',
    'GenerateEdge',
}


def load_config(
    config: str | Path | Config | dict,
    work_dir: str | None = None,
    options: Sequence[str] | Mapping[str, Any] = (),
    fragments: Sequence[Path] = (),
) -> Config:
    """Returns a config with a `work_dir`, and with fragments and `options` merged in.

    Args:
        config: Path of a config file, the name (stem) of one in `configs/`, or a `Config` or dict,
            which is copied.
        work_dir: `None` keeps the config's, or else takes `work_dirs/` and the config's name.
        options: 'KEY=VALUE' strings as `--cfg-options` takes them, or dotted keys and their values.
        fragments: Config files that are merged in before `options`, such as
            `configs/_base_/options/*.py`. MMEngine's inheritance would refuse two that set the same
            key.

    Raises:
        FileNotFoundError: If there is no such config.
        TypeError: If `config` is something else.
        ValueError: If an option is not of the form KEY=VALUE, or begins with a key that neither the
            config nor `Runner` knows.
    """
    if isinstance(config, (str, Path)):
        config = Config.fromfile(_find(config))
    elif isinstance(config, Config):
        config = copy.deepcopy(config)
    elif isinstance(config, dict):
        config = Config(config)
    else:
        raise TypeError(
            f'config is a {type(config).__name__}: expected the path of a config file, the name '
            'of one in configs/, a Config or a dict'
        )
    for fragment in fragments:
        merge_option(config, fragment)
    options = options if isinstance(options, Mapping) else _parse_options(options)
    _check_keys(options, config)
    config.merge_from_dict(dict(options))
    name = Path(config.filename or 'config').stem
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{name}'
    return config


def _find(config: str | Path) -> Path:
    """Returns the file of a path, or of the stem of a config in `configs/`."""
    if Path(config).is_file():
        return Path(config)
    shipped = {path.stem: path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts}
    if str(config) in shipped:
        return shipped[str(config)]
    problem = 'is a folder' if Path(config).is_dir() else 'does not exist'
    near = get_close_matches(str(config), shipped, n=3, cutoff=0.4)
    hint = f'; did you mean {" or ".join(near)}?' if near else ''
    raise FileNotFoundError(
        f'config {config} {problem}: expected a .py file or the name of one in configs/{hint}'
    )


def _parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Returns the values of 'KEY=VALUE' strings by their keys, as `DictAction` reads them."""
    for option in options:
        if '=' not in option.strip('='):
            raise ValueError(f'--cfg-options: got {option!r}, expected KEY=VALUE')
    namespace = argparse.Namespace()
    DictAction([], 'options')(argparse.ArgumentParser(), namespace, options)
    return namespace.options


def _check_keys(options: Mapping[str, Any], config: Config) -> None:
    known = {*config, *signature(Runner.__init__).parameters, *_OTHER_CONFIG_KEYS} - {'self'}
    for key in options:
        first = key.split('.')[0]
        if first not in known:
            near = get_close_matches(first, known, n=1)
            hint = f'did you mean {near[0]}?' if near else f'there are: {", ".join(sorted(config))}'
            raise ValueError(f'unknown key {first} in --cfg-options {key}; {hint}')


def image_transforms(config: Config) -> list[ConfigDict]:
    """Returns the steps of the test pipeline that follow reading.

    Raises:
        ValueError: If the config has no test pipeline.
    """
    pipeline = config.get('test_pipeline')
    if pipeline is None:
        pipeline = config.get('test_dataloader', {}).get('dataset', {}).get('pipeline')
    if pipeline is None:
        raise ValueError(
            f'config {config.filename} does not say how to prepare an image: expected '
            'test_pipeline or test_dataloader.dataset.pipeline'
        )
    return without_loading(pipeline)


def without_loading(pipeline: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Returns copies of a pipeline's steps, except those that read images and ground truth."""
    return [
        step.copy() for step in pipeline if step['type'].split('.')[-1] not in _LOADING_TRANSFORMS
    ]


def predicts_edges(model_config: ConfigDict) -> bool:
    """Returns whether a model can predict edges, i.e. has `edge` among the keys of `test_cfg`."""
    return 'edge' in getattr(MODELS.get(model_config.type), 'TEST_DEFAULTS', {})


def with_test_options(
    model_config: ConfigDict, edge: bool = False, seed: int | None = None
) -> ConfigDict:
    """Returns a copy of a model's config with `edge` and `seed` in its `test_cfg`.

    Keys that the model's `TEST_DEFAULTS` lack are left out.

    Args:
        model_config: A config's `model`.
        edge: Whether to predict edges.
        seed: Seed of the inference noise; None keeps the config's.
    """
    model_config = ConfigDict(model_config.to_dict())
    test_cfg = dict(model_config.get('test_cfg') or {})
    changes = {}
    if edge or 'edge' in test_cfg:
        changes['edge'] = edge
    if seed is not None:
        changes['seed'] = np.asarray(seed).tolist()  # NumPy scalars are not valid in a config
    known = getattr(MODELS.get(model_config.type), 'TEST_DEFAULTS', changes)
    test_cfg |= {key: value for key, value in changes.items() if key in known}
    if test_cfg:
        model_config.test_cfg = test_cfg
    return model_config
