"""What the U-Net's blocks are told beside the picture: timestep, half and prompt.

At inference it is the same for every picture, and so is what is made of it before it meets one: the
embeddings, their projection in every residual block, the prompt's keys and values. Each is computed
once and remembered.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar('T')


@dataclass(eq=False)
class Condition:
    """What the blocks are told of a batch; the same objects again at the next prediction.

    Attributes:
        embedding: time plus batch-discriminative embedding after its activation, as residual blocks
            take it, [2B, C_e].
        prompt: [2B, L, D].
        halves: that of the mask half and, if there is one, of the edge half; halves have none.
    """

    embedding: Tensor
    prompt: Tensor
    halves: list['Condition'] = field(default_factory=list)
    _casts: dict[torch.dtype, 'Condition'] = field(default_factory=dict, repr=False)

    @classmethod
    def of_batch(cls, embedding: Tensor, prompt: Tensor, batch_size: int) -> 'Condition':
        """That of B masks and, if there are 2B rows, of B edges."""
        parts = zip(embedding.split(batch_size), prompt.split(batch_size), strict=True)
        return cls(embedding, prompt, [cls(*part) for part in parts])

    def to(self, dtype: torch.dtype) -> 'Condition':
        """The same in another precision."""
        if dtype == self.embedding.dtype:
            return self
        if dtype not in self._casts:
            halves = [half.to(dtype) for half in self.halves]
            self._casts[dtype] = Condition(self.embedding.to(dtype), self.prompt.to(dtype), halves)
        return self._casts[dtype]


class _Results(WeakTensorKeyDictionary):
    """Input -> results, for as long as the input lives; copies and pickles are empty."""

    def __reduce__(self) -> tuple:
        return type(self), ()

    def __deepcopy__(self, memo: dict) -> '_Results':
        return type(self)()


class Remembering(nn.Module):
    """A module that computes once, while predicting, what depends on its weights alone.

    It remembers until a weight is replaced or changed in place, or `train()`, `eval()` or `to()` is
    called. Only a write through `weight.data` goes unnoticed; MMEngine's EMA hook, which does that,
    is followed by `eval()`.
    """

    remembers = True  # off: everything is computed at every call

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._results = _Results()

    def recall(
        self, given: Tensor, weights: Iterable[Tensor], compute: Callable[[], T], *options: int
    ) -> T:
        """What `compute()` gives, or gave for the same `given` (the object), weights and options.

        Args:
            given: the constant that is taken in.
            weights: what else it is computed of.
            compute: its result must not be a view of `given`, which would then live as long.
            options: what else makes a difference.
        """
        read = [given, *weights]
        if (
            torch.compiler.is_compiling()
            or not self.remembers
            or self.training
            or torch.is_grad_enabled()
            # neither shapes without values nor tensors that do not count their changes
            or any(tensor.is_meta or tensor.is_inference() for tensor in read)
            or torch.is_autocast_enabled(given.device.type)
        ):
            return compute()
        state = [(tensor, tensor._version) for tensor in read[1:]]
        of_given = self._results.setdefault(given, {})
        key = (given._version, *options)
        if key in of_given:
            then, result = of_given[key]
            if all(a is b and v == w for (a, v), (b, w) in zip(then, state, strict=True)):
                return result
        with torch.inference_mode(False), torch.no_grad():
            result = compute()
        of_given[key] = state, result
        return result

    def forget(self) -> None:
        """Drops what is remembered."""
        self._results.clear()

    def train(self, mode: bool = True) -> 'Remembering':
        """Training or evaluation mode, after which everything is computed anew."""
        self.forget()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> 'Remembering':  # `to()` and its kind
        self.forget()
        return super()._apply(*args, **kwargs)


class ConditionLinear(Remembering, nn.Linear):
    """A linear layer of a condition: computed once for each."""

    @classmethod
    def of(cls, layer: nn.Linear) -> 'ConditionLinear':
        """One with the parameters of another."""
        own = cls(layer.in_features, layer.out_features, layer.bias is not None, device='meta')
        own.weight, own.bias = layer.weight, layer.bias
        return own

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C']"""
        weights = [self.weight] if self.bias is None else [self.weight, self.bias]
        return self.recall(x, weights, lambda: nn.Linear.forward(self, x))


def remember_conditions(module: nn.Module) -> None:
    """Lets diffusers' blocks in a module take a :class:`Condition`, and compute of it once.

    Residual blocks then expect the embedding after its activation, which was the same in each.
    """
    for block in module.modules():
        if isinstance(block, ResnetBlock2D):
            block.skip_time_act = True
            block.time_emb_proj = ConditionLinear.of(block.time_emb_proj)
        elif isinstance(block, Attention) and block.is_cross_attention:
            block.to_k, block.to_v = ConditionLinear.of(block.to_k), ConditionLinear.of(block.to_v)
