"""Training options: fragments of configs that `tools/train.py --with` merges."""

from collections.abc import Mapping
from inspect import Parameter, signature
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmseg.registry import MODELS, OPTIM_WRAPPERS, OPTIMIZERS

from ..utils.shipped import CONFIGS
from .mixed_precision import set_mixed_precision

OPTIONS = CONFIGS / '_base_/options'
EIGHT_BIT = {'Adam': 'Adam8bit', 'AdamW': 'AdamW8bit'}  # of bitsandbytes

# Keys of a part of a config that are no arguments of its class: MMEngine takes them.
_TAKEN_BY_MMENGINE = {'type', 'constructor', 'paramwise_cfg'}


def apply_variant(config: Config, variant: str) -> None:
    """Merges the options of a variant into `config`.

    Args:
        config: Training config, changed in place.
        variant: Names of files in `configs/_base_/options/`, and 'amp' for `--amp`, joined by '+';
            'reference' leaves `config` as it is.

    Raises:
        ValueError: If there is no option of such a name, or it has no effect on the config.
    """
    for name in variant.split('+') if variant != 'reference' else ():
        path = OPTIONS / f'{name}.py'
        if name == 'amp':
            set_mixed_precision(config, get_device())
        elif path.is_file():
            merge_option(config, path)
        else:
            names = sorted(file.stem for file in OPTIONS.glob('*.py'))
            raise ValueError(f'option {name!r}: expected reference, amp, {", ".join(names)}')


def merge_option(config: Config, path: Path) -> None:
    """Merges a file of `configs/_base_/options/` into `config`.

    `adamw8bit` keeps the kind of optimizer: Adam's weight decay is not AdamW's. DeepSpeed, which
    clips gradients itself, takes the largest norm from `optim_wrapper.clip_grad`.

    Args:
        config: Training config, changed in place.
        path: The file.

    Raises:
        ValueError: If a part of the config would not take what the option sets.
    """
    changes = Config.fromfile(path).to_dict()
    optimizer = changes.get('optim_wrapper', {}).get('optimizer', {})
    if optimizer.get('type') in EIGHT_BIT.values():
        kind = config.optim_wrapper.optimizer.type
        if kind not in EIGHT_BIT:
            raise ValueError(
                f'option {path.stem}: the optimizer is {kind}, expected one of {[*EIGHT_BIT]}'
            )
        optimizer['type'] = EIGHT_BIT[kind]
    if changes.get('optim_wrapper', {}).get('type') == 'DeepSpeedOptimWrapper':
        clipping = config.optim_wrapper.get('clip_grad')
        # of the Euclidean norm, the only one that it knows
        if not clipping or clipping.keys() == {'max_norm'}:
            config.optim_wrapper.pop('clip_grad', None)
        if clipping:
            changes['strategy']['gradient_clipping'] = clipping.get('max_norm')
    for part, registry in (('model', MODELS), ('optim_wrapper', OPTIM_WRAPPERS)):
        if part in changes:
            _check(path.stem, part, config.get(part) or {}, changes[part], registry)
    config.merge_from_dict(changes)


def check_length(config: Config) -> None:
    """Raises ValueError unless a training and its intervals of validation have a length."""
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        number = config.train_cfg.get(key)
        if number is not None and number < 1:
            raise ValueError(f'train_cfg.{key}={number}: expected at least 1')


def build_optimizer(runner: Runner) -> None:
    """Builds a runner's optimizer and schedules, which `Runner.train` takes as they are."""
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    runner.auto_scale_lr = None  # once
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)


def check_optimizer(config: Config) -> None:
    """Raises ValueError unless the package of the config's optimizer is installed."""
    kind = config.optim_wrapper.get('optimizer', {}).get('type')
    if kind in EIGHT_BIT.values() and OPTIMIZERS.get(kind) is None:
        raise ValueError(f'{kind} is an optimizer of bitsandbytes: pip install bitsandbytes')


def _check(option: str, place: str, part: Mapping, changes: Mapping, registry: Registry) -> None:
    """Raises ValueError unless a part of a config takes an option's changes of it.

    Args:
        option: Name of the option.
        place: Dotted key of the part.
        part: Config of the part, before the changes.
        changes: Keys and values that the option sets.
        registry: Registry of the part's type.
    """
    kind = changes.get('type', part.get('type'))
    built = registry.get(kind) if isinstance(kind, str) else kind
    if built is None:  # of a package that is not installed
        return
    # another type has to take what is already there as well
    keys = {*changes, *part} if 'type' in changes else {*changes}
    for key in sorted(keys - _TAKEN_BY_MMENGINE - _parameters(built)):
        raise ValueError(
            f'option {option}: {place}.{key} is no argument of {built.__name__}; leave the option '
            f'or {place}.{key} out'
        )
    for key, value in changes.items():
        inner = part.get(key)
        if isinstance(value, Mapping) and isinstance(inner, Mapping) and 'type' in inner:
            inner_registry = OPTIMIZERS if key == 'optimizer' else registry
            _check(option, f'{place}.{key}', inner, value, inner_registry)


def _parameters(kind: type) -> set[str]:
    """Returns names of a class's arguments, and of its bases' where it passes `**kwargs` on."""
    names = set()
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = signature(base.__init__).parameters.values()
        names |= {p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD}
        if all(p.kind is not Parameter.VAR_KEYWORD for p in parameters):
            break
    return names
