"""Names of LoRA adapters, and their merging into the weights that they adapt."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALING = 'lora_scaling'
_BASE, _DOWN, _UP = '.base_layer', '.lora_A.default.weight', '.lora_B.default.weight'


def without_adapters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state dict under the names of a model without adapters, and without theirs."""
    return {
        name.replace(_BASE, ''): tensor
        for name, tensor in weights.items()
        if not is_of_adapters(name)
    }


def is_of_adapters(name: str) -> bool:
    """Returns whether a name in a state dict is that of an adapter, or of their scaling."""
    return name == SCALING or name.endswith((_DOWN, _UP))


def merge_lora(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights with adapters merged: W + scaling * B A in the place of W, A and B.

    Args:
        weights: State dict of a model that `models.diffdis.adaptation.add_lora` was applied to. A
            is [r, in] or [r, in, k, k], B is [out, r] or [out, r, 1, 1]. Weights without adapters
            are returned as they are.
    """
    merged = without_adapters(weights)
    for name, down in weights.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            up = weights[layer + _UP].flatten(1).float()
            change = weights[SCALING] * torch.tensordot(up, down.float(), dims=1)
            weight = merged[f'{layer}.weight']
            merged[f'{layer}.weight'] = (weight.float() + change).to(weight.dtype)
    return merged
