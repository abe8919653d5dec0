"""Reading configs, and the parts of them that prediction needs."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import MODELS

from ..engine.options import merge_option
from ..models.onnx_segmentor import config_of_onnx
from ..utils.shipped import CONFIGS, shipped_models

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

_QUOTES = '"\''
# Arguments of schedulers that are positions in the training.
_SCHEDULE_POSITIONS = ('begin', 'end', 'T_max', 'milestones')

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
    needs: Sequence[str] = (),
) -> Config:
    """Returns a config with a `work_dir`, and with fragments and `options` merged in.

    Schedules are stretched to a length of training that the options set, and loaders without
    workers keep none.

    Args:
        config: Path of a config file, the name (stem) of one in `configs/`, the name of a model
            whose weights come with the package, an ONNX file of `mmdiffdis export`, or a `Config`
            or dict, which is copied.
        work_dir: `None` keeps the config's, or else takes `work_dirs/` and the config's name.
        options: 'KEY=VALUE' strings as `--cfg-options` takes them (see `parse_options`), or dotted
            keys and their values.
        fragments: Config files that are merged in before `options`, such as
            `configs/_base_/options/*.py`. MMEngine's inheritance would refuse two that set the same
            key.
        needs: Keys that the config must have.

    Raises:
        FileNotFoundError: If there is no such config.
        ImportError: If an ONNX file is given and the package onnxruntime is not installed.
        TypeError: If `config` is something else.
        ValueError: If an ONNX file is of another program; if an option is not of the form
            KEY=VALUE, or begins with a key that neither the config nor `Runner` knows, or that
            changes nothing; if the config lacks what it needs.
    """
    if isinstance(config, (str, Path)) and Path(config).suffix == '.onnx':
        settings = config_of_onnx(config)
        config = Config(settings, cfg_text=str(settings), filename=str(config))
    elif isinstance(config, (str, Path)):
        config = Config.fromfile(_find(config))
        _warn_of_leftovers(config)
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
    options = options if isinstance(options, Mapping) else parse_options(options, config)
    _check_keys(options, config)
    length = _length(config)
    config.merge_from_dict(dict(options))
    if not any(key.startswith('param_scheduler') for key in options):
        _stretch_schedules(config, length)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(key) or {}
        if loader.get('num_workers') == 0 and loader.get('persistent_workers'):
            loader.persistent_workers = False  # torch refuses it without workers
    missing = [key for key in needs if config.get(key) is None]
    if missing:
        raise ValueError(f'config {config.filename} does not define {", ".join(missing)}')
    name = Path(config.filename or 'config').stem
    work_dir = work_dir or config.get('work_dir') or f'work_dirs/{name}'
    config.work_dir = str(Path(work_dir).expanduser())
    return config


def _find(config: str | Path) -> Path:
    """Returns the file of a path, of the stem of a config in `configs/` or of a model's name."""
    if Path(config).is_file():
        return Path(config)
    shipped = {path.stem: path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts}
    name = shipped_models().get(str(config), str(config))
    if name in shipped:
        return shipped[name]
    problem = 'is a folder' if Path(config).is_dir() else 'does not exist'
    near = get_close_matches(name, [*shipped, *shipped_models()], n=3, cutoff=0.4)
    hint = f'; did you mean {" or ".join(near)}?' if near else ''
    raise FileNotFoundError(
        f'config {config} {problem}: expected a .py file, the name of one in configs/ or one of '
        f'{", ".join(shipped_models())}{hint}'
    )


def parse_options(options: Sequence[str], config: Config) -> dict[str, Any]:
    """Returns the values of 'KEY=VALUE' strings by their keys.

    Values are numbers, `None`, `true`, `false`, lists `[a,b]` and tuples `(a,b)`, or else text, of
    which spaces and commas are parts; quotes keep numbers and brackets as text. Without brackets,
    commas separate numbers, and the values of what is a list in the config.

    Args:
        options: Such strings.
        config: Config that they will change.

    Raises:
        ValueError: If a string is not of the form KEY=VALUE.
    """
    values = {}
    for option in options:
        key, _, text = option.partition('=')
        if not key or not text:
            hint = f", or {key}='' for an empty text" if key and option.endswith('=') else ''
            raise ValueError(f'--cfg-options: got {option!r}, expected KEY=VALUE{hint}')
        values[key] = _parse_value(text, is_list=isinstance(_current(config, key), (list, tuple)))
    return values


def refuse_decided(options: Sequence[str], decided: Mapping[str, str | None]) -> None:
    """Raises ValueError for options of what an argument of the command decides.

    Args:
        options: 'KEY=VALUE' strings.
        decided: Key -> the argument, or None if the argument was not given.
    """
    for option in options:
        key = option.partition('=')[0]
        if decided.get(key) is not None:
            raise ValueError(f'--cfg-options {option} changes nothing: {decided[key]} decides it')


def _parse_value(text: str, is_list: bool = False) -> Any:
    """Returns the value of an option's text.

    >>> [_parse_value(text) for text in ('1e-3', 'None', 'my set, 2', '[a b,(1,2)]', '1024,1024')]
    [0.001, None, 'my set, 2', ['a b', (1, 2)], [1024, 1024]]

    Args:
        text: The part of an option after '='.
        is_list: Whether the option replaces a list or tuple.
    """
    bare = text.strip()
    if bare[:1] + bare[-1:] in ("''", '""', '()', '[]') and _is_one_group(bare):
        if bare[0] in _QUOTES:
            return bare[1:-1]
        parts = [_parse_value(part.strip()) for part in _split(bare[1:-1])]
        return tuple(parts) if bare[0] == '(' else parts
    if bare.lower() in ('true', 'false'):
        return bare.lower() == 'true'
    if bare == 'None':
        return None
    for number in (int, float):
        try:
            return number(bare)
        except ValueError:
            continue
    if _split(bare) != [bare]:
        parts = [_parse_value(part.strip()) for part in _split(bare)]
        if is_list or not any(isinstance(part, str) for part in parts):
            return parts
    return str(Path(text).expanduser()) if text.startswith('~/') else text  # as shells do


def _split(text: str) -> list[str]:
    """Returns the parts of a text between commas that are in no quotes or brackets."""
    parts = ['']
    for letter, depth in _depths(text):
        if letter == ',' and depth == 0:
            parts.append('')
        else:
            parts[-1] += letter
    return parts if parts[-1].strip() else parts[:-1]


def _is_one_group(text: str) -> bool:
    """Returns whether the quote or bracket at the start of a text is closed at its end."""
    return len(text) > 1 and 0 not in [depth for _, depth in _depths(text)][:-1]


def _depths(text: str) -> Iterator[tuple[str, int]]:
    """Yields each letter of a text, and how many quotes and brackets are open after it."""
    depth, quote, before = 0, '', ' '
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in _QUOTES and before in ' ,([':  # elsewhere it is an apostrophe
            quote = letter
        else:
            depth += (letter in '([') - (letter in ')]')
        before = letter
        yield letter, depth + bool(quote)


def _current(config: Config, key: str) -> Any:
    """Returns the value at a dotted key, or None."""
    value = config
    for name in key.split('.'):
        if isinstance(value, (list, tuple)) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        elif isinstance(value, (dict, Config)) and name in value:
            value = value[name]
        else:
            return None
    return value


def _is_read(key: str, config: Config) -> bool:
    """Returns whether a key at the top of a config is read by `Runner` or a tool."""
    if key == 'data_preprocessor':
        return 'data_preprocessor' not in (config.get('model') or {})
    if key == 'test_pipeline':
        return config.get('test_dataloader') is None
    return key in _OTHER_CONFIG_KEYS or key in {*signature(Runner).parameters} - {'cfg'}


def _check_keys(options: Mapping[str, Any], config: Config) -> None:
    for key in options:
        first, _, rest = key.partition('.')
        if _is_read(first, config):
            continue
        if first == 'data_preprocessor':
            places, reason = [f'model.{key}'], 'the model has one of its own'
        elif first in config:
            places = ['.'.join(filter(None, (place, rest))) for place in _uses(config, first)]
            reason = f'{first} is a variable that the config file has used before'
        else:
            near = get_close_matches(first, [*config, *_OTHER_CONFIG_KEYS], n=1)
            hint = f'did you mean {near[0]}?' if near else f'there are: {", ".join(sorted(config))}'
            raise ValueError(f'unknown key {first} in --cfg-options {key}; {hint}')
        hint = f'set {" and ".join(places)}' if places else 'change it in a config of your own'
        raise ValueError(f'--cfg-options {key} changes nothing: {reason}; {hint}')


def _uses(config: Config, variable: str) -> list[str]:
    """Returns the keys, below those that are read, that have the name and value of a variable.

    A list or dict may stand under another name.
    """
    value = config[variable]
    return [
        path
        for path, found in walk({key: config[key] for key in config if _is_read(key, config)})
        if type(found) is type(value)
        and found == value
        and (isinstance(value, (list, dict)) or path.rpartition('.')[2] == variable)
    ]


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the dotted key and the value of everything below a node, outer values first."""
    if isinstance(node, dict):
        items = node.items()
    else:
        items = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        yield f'{path}{key}', value
        yield from walk(value, f'{path}{key}.')


def _warn_of_leftovers(config: Config) -> None:
    """Warns of what a config took from its base though it changed what belongs to it.

    These are variables that nothing uses any more, and schedules that end after the training.
    """
    read = [*walk({key: config[key] for key in config if _is_read(key, config)})]
    for name in config:
        value = config[name]
        if _is_read(name, config) or isinstance(value, (list, dict)):
            continue
        namesakes = {path: found for path, found in read if path.rpartition('.')[2] == name}
        if namesakes and value not in namesakes.values():
            path, found = next(iter(namesakes.items()))
            _warn(
                f'{config.filename}: {name}={value!r} is a variable that nothing uses; what is '
                f'used is {path}={found!r}'
            )
    length, by_epoch = _length(config), 'max_epochs' in (config.get('train_cfg') or {})
    for scheduler in _schedulers(config):
        end = scheduler.get('end', 0)
        if length and scheduler.get('by_epoch', True) == by_epoch and end > length:
            _warn(
                f'{config.filename}: {scheduler.type} ends at {end}, after the training '
                f'({length}); set param_scheduler as well'
            )


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _schedulers(config: Config) -> list[ConfigDict]:
    schedulers = config.get('param_scheduler') or []
    return [schedulers] if isinstance(schedulers, dict) else schedulers


def _length(config: Config) -> int | None:
    """Returns the length of training, in iterations or epochs; None if the config has none."""
    loop = config.get('train_cfg') or {}
    return loop.get('max_iters') or loop.get('max_epochs')


def _stretch_schedules(config: Config, before: int | None) -> None:
    """Stretches schedules from a length of training to the config's, and logs that."""
    now = _length(config)
    if not before or not isinstance(now, int) or now == before:
        return

    def stretch(position: Any) -> Any:
        if isinstance(position, (list, tuple)):
            return type(position)(map(stretch, position))
        # The default of `end` is far beyond any training.
        return max(1, round(position * now / before)) if 0 < position <= before else position

    changes = []
    for scheduler in _schedulers(config):
        for key in _SCHEDULE_POSITIONS:
            if key in scheduler and (new := stretch(scheduler[key])) != scheduler[key]:
                if key == 'end':
                    new = max(new, scheduler.get('begin', 0) + 1)  # expected by MMEngine
                changes.append(f'{scheduler.type}.{key} {scheduler[key]} -> {new}')
                scheduler[key] = new
    if changes:
        print_log(
            f'schedules follow the length of training, {before} -> {now}: {", ".join(changes)} '
            '(options that begin with param_scheduler set them; a resumed training keeps its own)',
            logger='current',
        )


def image_transforms(config: Config) -> list[ConfigDict]:
    """Returns the steps, after reading, by which the config's test prepares an image.

    They are those of `test_dataloader`, or of `test_pipeline` in a config without it. If both are
    there and differ, a warning says so.

    Raises:
        ValueError: If the config has no test pipeline, or several.
    """
    tested = _pipelines((config.get('test_dataloader') or {}).get('dataset') or {})
    if any(pipeline != tested[0] for pipeline in tested):
        raise ValueError(
            f'the data sets of test_dataloader in config {config.filename} prepare images in '
            'different ways: expected one pipeline'
        )
    named = config.get('test_pipeline')
    if not tested and named is None:
        raise ValueError(
            f'config {config.filename} does not say how to prepare an image: expected '
            'test_pipeline or test_dataloader.dataset.pipeline'
        )
    if not tested:
        return without_loading(named)
    steps = without_loading(tested[0])
    if named is not None and without_loading(named) != steps:
        _warn(
            f'config {config.filename}: test_pipeline differs from '
            'test_dataloader.dataset.pipeline, which is the one used in tests and here'
        )
    return steps


def _pipelines(dataset: Mapping[str, Any]) -> list[list[ConfigDict]]:
    """Returns the pipelines of a data set's config, or of the sets inside a wrapper."""
    inner = dataset.get('datasets') or filter(None, [dataset.get('dataset')])
    found = [pipeline for part in inner for pipeline in _pipelines(part)]
    return found or ([dataset['pipeline']] if dataset.get('pipeline') is not None else [])


def without_loading(pipeline: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Returns copies of a pipeline's steps, except those that read images and ground truth."""
    return [
        step.copy() for step in pipeline if step['type'].split('.')[-1] not in _LOADING_TRANSFORMS
    ]


def without_files(settings: Any) -> Any:
    """Returns a model's settings without initialisation from files."""
    if isinstance(settings, Mapping):
        return {
            key: None if key in ('init_cfg', 'pretrained') else without_files(value)
            for key, value in settings.items()
        }
    return [*map(without_files, settings)] if isinstance(settings, (list, tuple)) else settings


def predicts_edges(model_config: ConfigDict) -> bool:
    """Returns whether a model can predict edges: DiffDIS can, unless it was built without them."""
    known = getattr(MODELS.get(model_config.type), 'TEST_DEFAULTS', {})
    return 'edge' in known and model_config.get('edge', True)


def with_test_options(
    model_config: ConfigDict, edge: bool = False, seed: int | None = None
) -> ConfigDict:
    """Returns a copy of a model's config with `edge` and `seed` in its `test_cfg`.

    Keys that the model's `TEST_DEFAULTS` lack are left out.

    Args:
        model_config: A config's `model`.
        edge: Whether to predict edges, if the model can.
        seed: Seed of the inference noise; None keeps the config's.
    """
    model_config = ConfigDict(model_config.to_dict())
    test_cfg = dict(model_config.get('test_cfg') or {})
    changes = {}
    if edge or 'edge' in test_cfg:
        changes['edge'] = edge and model_config.get('edge', True)
    if seed is not None:
        changes['seed'] = np.asarray(seed).tolist()  # NumPy scalars are not valid in a config
    known = getattr(MODELS.get(model_config.type), 'TEST_DEFAULTS', changes)
    test_cfg |= {key: value for key, value in changes.items() if key in known}
    if test_cfg:
        model_config.test_cfg = test_cfg
    return model_config
