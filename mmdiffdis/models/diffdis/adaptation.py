"""Partial fine-tuning: freezing by name, LoRA adapters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Switches off the gradients of parameters whose names begin with one of `prefixes`.

    Raises:
        ValueError: If no parameter's name begins with a prefix.
    """
    for prefix in prefixes:
        parameters = [p for name, p in model.named_parameters() if name.startswith(prefix)]
        if not parameters:
            parts = sorted({name.rsplit('.', 1)[0] for name, _ in model.named_parameters()})
            raise ValueError(
                f'frozen={list(prefixes)}: no parameter begins with {prefix!r}; there are '
                f'{parts[0]}, {parts[len(parts) // 2]}, {parts[-1]} and {len(parts) - 3} more'
            )
        for parameter in parameters:
            parameter.requires_grad_(False)


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
) -> None:
    """Freezes `model` and adds trainable adapters.

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

    Raises:
        ImportError: If peft is not installed.
        ValueError: If no layer has such a name.
    """
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
    inject_adapter_in_model(config, model)
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.register_load_state_dict_pre_hook(_load_into_base_layer)
    model.register_buffer('lora_scaling', torch.tensor(alpha / rank))


def _load_into_base_layer(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_):
    """Renames the weights of a checkpoint without adapters to those of the adapted layer."""
    for name in ('weight', 'bias'):
        if f'{prefix}{name}' in state_dict:
            state_dict[f'{prefix}base_layer.{name}'] = state_dict.pop(f'{prefix}{name}')
