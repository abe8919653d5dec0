"""Settings that decide what weights mean, stored beside them."""

from functools import partial

import torch
from torch import Tensor, nn

NAME = 'settings'
TOLERANCE = 1e-2  # relative: checkpoints may be rounded to half precision


def store_settings(module: nn.Module, **settings: float | bool) -> None:
    """Stores numbers that decide what the weights of `module` mean, as its buffer `settings`.

    A checkpoint with other settings does not fit: that is an error like a weight of another shape.
    One without them, which is older or published by others, is taken to agree.

    Args:
        module: Module that gets the buffer.
        settings: Argument of the module's config -> its value. Nothing is stored without any.
    """
    if settings:
        values = [float(value) for value in settings.values()]
        # on the CPU also for a model that is built without content
        module.register_buffer(NAME, torch.tensor(values, dtype=torch.float32, device='cpu'))
    module.register_load_state_dict_pre_hook(partial(_compare, settings))


def _compare(
    settings: dict[str, float | bool],
    module: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Adds differing settings to the errors of a loading, and keeps the module's own."""
    stored = state_dict.pop(f'{prefix}{NAME}', None)
    if not settings:
        return
    state_dict[f'{prefix}{NAME}'] = getattr(module, NAME)
    if stored is None or stored.is_meta:
        return
    stored = stored.tolist()
    if len(stored) != len(settings):
        error_msgs.append(
            f'{prefix}{NAME} holds {len(stored)} numbers, expected those of {", ".join(settings)}'
        )
        return
    differing = {
        name: type(value)(found)
        for (name, value), found in zip(settings.items(), stored, strict=True)
        if abs(found - value) > TOLERANCE * abs(value)
    }
    place = prefix.removeprefix('network.')
    if differing:
        error_msgs.append(
            'the checkpoint was trained with '
            + ', '.join(f'{place}{name}={found:g}' for name, found in differing.items())
            + ', but the config has '
            + ', '.join(f'{name}={settings[name]:g}' for name in differing)
            + ': --cfg-options '
            + ' '.join(
                f'model.{place}{name}={found if isinstance(found, bool) else f"{found:g}"}'
                for name, found in differing.items()
            )
        )
