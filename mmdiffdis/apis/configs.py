"""What a config says about predicting."""

from collections.abc import Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

# What a test pipeline does to files and truth; the inferencer hands over decoded pictures instead.
_LOADING_TRANSFORMS = frozenset(
    (
        'LoadImageFromFile',
        'LoadDISImage',
        'LoadAnnotations',
        'LoadDISAnnotations',
        'GenerateDISEdge',
        'GenerateEdge',
    )
)
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def find_config(name: str | Path) -> Path:
    """The config file of a path, or of the stem of one in ``configs/``.

    Raises:
        FileNotFoundError: if there is none.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts}
    if str(name) not in shipped:
        near = get_close_matches(str(name), shipped, n=3, cutoff=0.4)
        hint = f'; did you mean one of {near}?' if near else '.'
        raise FileNotFoundError(
            f"'{name}' is no config file, nor the name of one in configs/{hint}"
        )
    return shipped[str(name)]


def read_config(config: str | Path | Config | dict) -> Config:
    """The config of a path, or of the stem of one in ``configs/``; a dict becomes one.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: if it is something else.
    """
    if isinstance(config, (str, Path)):
        return Config.fromfile(find_config(config))
    if isinstance(config, dict):
        return Config(config)
    if not isinstance(config, Config):
        raise TypeError(
            f'`config` is a {type(config).__name__}, expected the path of a config file, the name '
            'of one in configs/, a Config or a dict.'
        )
    return config


def picture_transforms(cfg: Config) -> list[ConfigDict]:
    """The test pipeline without loading."""
    pipeline = cfg.get('test_pipeline')
    if pipeline is None:
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        pipeline = dataset.get('pipeline')
    if pipeline is None:
        raise ValueError(
            f"the config '{cfg.filename}' has neither `test_pipeline` nor "
            '`test_dataloader.dataset.pipeline`, so it does not say how to prepare a picture.'
        )
    return without_loading(pipeline)


def without_loading(pipeline: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Copies of a pipeline's steps without those that read pictures and truths."""
    kept = [step for step in pipeline if step['type'].split('.')[-1] not in _LOADING_TRANSFORMS]
    return [step.copy() for step in kept]


def with_test_options(
    model_cfg: ConfigDict, edge: bool = False, seed: int | None = None
) -> ConfigDict:
    """A copy of the model's config that says in ``test_cfg`` what is wanted."""
    model_cfg = ConfigDict(model_cfg.to_dict())
    test_cfg = dict(model_cfg.get('test_cfg') or {})
    if edge or 'edge' in test_cfg:
        test_cfg['edge'] = edge
    if seed is not None:
        test_cfg['seed'] = np.asarray(seed).tolist()  # numpy's are no numbers in a config
    if test_cfg:
        model_cfg.test_cfg = test_cfg
    return model_cfg


# Configs may hold more than the arguments of `Runner`; these are read from `Runner.cfg`.
_OTHER_CONFIG_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}


def load_config(
    path: str,
    work_dir: str | None = None,
    options: dict[str, Any] | None = None,
    fragments: Sequence[Path] = (),
) -> Config:
    """The config of a file, with a `work_dir` and with fragments and `options` merged in.

    Args:
        path: A config file.
        work_dir: `None` keeps the config's, or else takes `work_dirs/` and the file's stem.
        options: Dotted keys and their values, as `--cfg-options` gives them.
        fragments: Config files with what is to be changed, such as `configs/_base_/options/*.py`;
            MMEngine's inheritance would refuse two that set the same key.

    Raises:
        FileNotFoundError: `path` is no file.
        ValueError: An option's key begins with what neither the config nor `Runner` knows.
    """
    if not Path(path).is_file():
        what = 'is a folder' if Path(path).is_dir() else 'does not exist'
        raise FileNotFoundError(f'config {path} {what}; expected a config file, e.g. a .py file.')
    config = Config.fromfile(path)
    for fragment in fragments:
        config.merge_from_dict(Config.fromfile(fragment).to_dict())
    known = {*config, *signature(Runner.__init__).parameters, *_OTHER_CONFIG_KEYS} - {'self'}
    for key in options or {}:
        first = key.split('.')[0]
        if first not in known:
            near = get_close_matches(first, known, n=1)
            hint = (
                f'did you mean {near[0]}?' if near else f'there are: {", ".join(sorted(config))}.'
            )
            raise ValueError(f'unknown key {first} in --cfg-options {key}; {hint}')
    config.merge_from_dict(options or {})
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{Path(path).stem}'
    return config
