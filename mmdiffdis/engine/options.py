"""Training options: fragments of configs that `tools/train.py --with` merges."""

from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device

from .mixed_precision import set_mixed_precision

OPTIONS = Path(__file__).resolve().parents[2] / 'configs/_base_/options'


def apply_variant(config: Config, variant: str) -> None:
    """Merges the options of a variant into `config`.

    Args:
        config: Training config, changed in place.
        variant: Names of files in `configs/_base_/options/`, and 'amp' for `--amp`, joined by '+';
            'reference' leaves `config` as it is.

    Raises:
        ValueError: If there is no option of such a name.
    """
    for name in variant.split('+') if variant != 'reference' else ():
        path = OPTIONS / f'{name}.py'
        if name == 'amp':
            set_mixed_precision(config, get_device())
        elif path.is_file():
            config.merge_from_dict(Config.fromfile(path).to_dict())
        else:
            names = sorted(file.stem for file in OPTIONS.glob('*.py'))
            raise ValueError(f'option {name!r}: expected reference, amp, {", ".join(names)}')
