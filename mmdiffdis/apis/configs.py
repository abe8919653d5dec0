"""What a config says about predicting."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict

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
