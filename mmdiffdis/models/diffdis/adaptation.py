"""Partial fine-tuning: freezing by name, LoRA adapters."""

from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(model: nn.Module, prefixes: Sequence[str], untrained: tuple[str, ...] = ()) -> None:
    """Switches off the gradients of parameters whose names begin with one of `prefixes`.

    Args:
        model: Model, changed in place.
        prefixes: Beginnings of names. A part that this model is built without, such as
            'backbone.swci', may be among them.
        untrained: Beginnings of the names of parameters that start untrained: they are trained.

    Raises:
        ValueError: If no parameter's name begins with a prefix, or all that do are untrained.
    """
    if not prefixes:
        return
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names) and not _is_part(model, prefix):
            parts = sorted({name.rsplit('.', 1)[0] for name in names})
            raise ValueError(
                f'frozen={list(prefixes)}: no parameter begins with {prefix!r}; there are '
                f'{parts[0]}, {parts[len(parts) // 2]}, {parts[-1]} and {len(parts) - 3} more'
            )
    frozen = [name for name in names if name.startswith(tuple(prefixes))]
    kept = [name for name in frozen if not name.startswith(untrained)]
    if frozen and not kept:
        raise ValueError(
            f'frozen={list(prefixes)}: these parts start untrained, by the init_cfg of the model; '
            'expected parts with weights, or frozen=[]'
        )
    for name in kept:
        model.get_parameter(name).requires_grad_(False)
    if len(kept) < len(frozen):
        log_untrained({name for name in frozen if name.startswith(untrained)}, untrained)


def log_untrained(names: set[str], untrained: tuple[str, ...]) -> None:
    """Logs which parts are trained although they were to be frozen."""
    parts = [prefix.rstrip('.') for prefix in untrained if any(n.startswith(prefix) for n in names)]
    print_log(
        f'{", ".join(parts)} are trained, not frozen: they start untrained, by the init_cfg of the '
        'model; for weights of load_from: model.init_cfg=None',
        logger='current',
    )


def _is_part(model: nn.Module, name: str) -> bool:
    """Returns whether a dotted name is that of a part, also of one that is None here."""
    parent, _, attribute = name.rstrip('.').rpartition('.')
    try:
        part = getattr(model.get_submodule(parent), attribute)
    except AttributeError:
        return False
    return part is None or isinstance(part, nn.Module)


def freeze_statistics(model: nn.Module) -> None:
    """Sets batch normalisations with frozen weights to evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
            module.eval()


def add_lora(
    model: nn.Module,
    targets: Sequence[str],
    rank: int = 16,
    alpha: float = 16,
    dropout: float = 0.0,
    untrained: tuple[str, ...] = (),
) -> None:
    """Freezes the U-Net of `model` and adds trainable adapters to it.

    A weight W becomes W + alpha / rank * B A, with B = 0 at the start.

    A checkpoint without adapters still loads: its weights become W. `lora_scaling`, a buffer of the
    checkpoint, is alpha / rank, so that `checkpoints.merge_lora` needs no config.

    Source: Hu et al., LoRA, ICLR 2022; the adapters are those of the peft package.

    Args:
        model: Model whose U-Net is adapted; its VAE (`vae`) is not.
        targets: Last parts of the names of linear and convolution layers, e.g. 'to_q'.
        rank: r, of A [r, in, ...] and B [out, r].
        alpha: Weight of the adapters, times the rank.
        dropout: Dropout rate of an adapter's input.
        untrained: Beginnings of the names of parameters that start untrained: they are trained.

    Raises:
        ImportError: If peft is not installed.
        ValueError: If no layer has such a name, or the whole U-Net starts untrained.
    """
    if 'backbone.' in untrained:
        raise ValueError(
            'lora adapts trained weights, but the U-Net starts untrained, by the init_cfg of the '
            'model; leave out lora'
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise ImportError("model.lora needs peft: pip install 'mmdiffdis[lora]'") from error
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        exclude_modules=r'vae\..*',
    )
    # peft freezes everything else: also the head, which is not adapted
    trained = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not name.startswith(('backbone.', 'neck.'))
    }
    fresh = {name for name, _ in model.named_parameters() if name.startswith(untrained)}
    parameters = {name: model.get_parameter(name) for name in trained | fresh}
    inject_adapter_in_model(config, model)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    if fresh:
        log_untrained(fresh, untrained)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.register_load_state_dict_pre_hook(_load_into_base_layer)
    model.register_buffer('lora_scaling', torch.tensor(alpha / rank))


def _load_into_base_layer(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_):
    """Renames the weights of a checkpoint without adapters to those of the adapted layer."""
    for name in ('weight', 'bias'):
        if f'{prefix}{name}' in state_dict:
            state_dict[f'{prefix}base_layer.{name}'] = state_dict.pop(f'{prefix}{name}')
