"""From weights with low-rank adapters beside them to weights alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALING = 'lora_scaling'
_BASE, _DOWN, _UP = '.base_layer', '.lora_A.default.weight', '.lora_B.default.weight'


def merge_lora(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """W + scaling * B A in the place of W, A and B; weights without adapters stay as they are.

    Args:
        weights: state dict of a model that `models.adaptation.add_lora` was applied to, or of one
            without adapters. A is [r, in] or [r, in, k, k], B [out, r] or [out, r, 1, 1].
    """
    merged = {
        name.replace(_BASE, ''): tensor
        for name, tensor in weights.items()
        if name != SCALING and not name.endswith((_DOWN, _UP))
    }
    for name, down in weights.items():
        if name.endswith(_DOWN):
            layer = name.removesuffix(_DOWN)
            up = weights[layer + _UP].flatten(1).float()
            change = weights[SCALING] * torch.tensordot(up, down.float(), dims=1)
            weight = merged[f'{layer}.weight']
            merged[f'{layer}.weight'] = (weight.float() + change).to(weight.dtype)
    return merged
