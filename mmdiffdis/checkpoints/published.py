"""Published weights under our names, and ours under the published ones.

Each published model has one table, from its names to those of our model. The tables of Stable
Diffusion and of the released DiffDIS are in `diffusers_names.py`, those of a baseline beside its
network.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from torch import Tensor

T = TypeVar('T')
Layout = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_PLACEHOLDER = re.compile(r'\{(\+\d+)?\}')
# PyTorch's wrappers (DDP, torch.compile) prefix the names of all weights.
_WRAPPERS = re.compile(r'^(module\.|_orig_mod\.)+')


@dataclass(frozen=True)
class PublishedNames:
    """Table of the names of published weights.

    A pattern matches the beginning of a name; the rest of the name stays. The first row that fits
    wins, in both directions, so special rows stand before general ones. `{}` stands for one number,
    `{+1}` for a number that is one larger than in the other column.

    Attributes:
        patterns: Published pattern -> our pattern, with equally many numbers in the same order.
        unused: Beginnings of published names that no forward pass uses; `to_ours` drops them.
        training_only: Beginnings of our names that published files lack because only training needs
            them; `to_published` drops them.
        layout: Two functions for tensors that are stored in another layout, from the published to
            our layout and its inverse. Both take weights under our names.

    Examples:
        >>> names = PublishedNames({
        ...     'block{+1}.attn.{}.': 'network.blocks.{}.attentions.{}.',
        ...     'head.': 'network.output.',
        ... })
        >>> names.to_ours({'block1.attn.0.weight': 3.0, 'head.bias': 2.0})
        {'network.blocks.0.attentions.0.weight': 3.0, 'network.output.bias': 2.0}
        >>> names.published_name('network.blocks.11.attentions.2.bias')
        'block12.attn.2.bias'
        >>> names.our_name('tail.bias') is None
        True
    """

    patterns: Mapping[str, str]
    unused: tuple[str, ...] = ()
    training_only: tuple[str, ...] = ()
    layout: tuple[Layout, Layout] | None = None

    def our_name(self, name: str) -> str | None:
        """Returns our name of a published weight; `None` if no row fits."""
        return _replace_first(name, self.patterns.items())

    def published_name(self, name: str) -> str | None:
        """Returns the published name of one of our weights; `None` if no row fits."""
        rows = ((ours, published) for published, ours in self.patterns.items())
        return _replace_first(name, rows)

    def to_ours(self, weights: Mapping[str, T]) -> dict[str, T]:
        """Returns published weights under our names and in our layout.

        A name that no row fits is kept, so that a strict loading reports it as the file has it.
        """
        used = {n: t for n, t in weights.items() if not n.startswith(self.unused)}
        renamed = {self.our_name(name) or name: tensor for name, tensor in used.items()}
        return self.layout[0](renamed) if self.layout else renamed

    def to_published(self, weights: Mapping[str, T]) -> dict[str, T]:
        """Returns our weights under their published names and in the published layout.

        The inverse of `to_ours`. Weights without a row belong to other parts and are left out.
        """
        used = {n: t for n, t in weights.items() if not n.startswith(self.training_only)}
        used = self.layout[1](used) if self.layout else used
        names = {name: self.published_name(name) for name in used}
        return {published: used[ours] for ours, published in names.items() if published is not None}

    def are_published(self, names: Iterable[str]) -> bool:
        """Returns whether the names of a checkpoint are published ones: none begins like ours."""
        return not any(
            self.published_name(name) is not None or name.startswith(self.training_only)
            for name in names
        )

    def rename_in_place(
        self, state_dict: dict[str, Tensor], prefix: str, current: Mapping[str, Tensor]
    ) -> None:
        """Renames published weights in a state dict that a model is about to load.

        Weights under our names stay as they are. What does not fit the model stays in, or stays
        missing, for the loading to report.

        Args:
            state_dict: Changed in place.
            prefix: Stands before the model's names in `state_dict`.
            current: The model's state dict; `training_only` weights keep their values.
        """
        weights = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
        if not self.are_published(weights):
            return
        for name in weights:
            del state_dict[prefix + name]
        renamed = {n: t for n, t in current.items() if n.startswith(self.training_only)}
        renamed |= self.to_ours({_WRAPPERS.sub('', n): t for n, t in weights.items()})
        state_dict.update({prefix + name: tensor for name, tensor in renamed.items()})


def prefixed(patterns: Mapping[str, str], published: str, ours: str) -> dict[str, str]:
    """Returns the rows of a table with a prefix before each column, to combine tables.

    Examples:
        >>> prefixed({'fc.': 'linear.', '': ''}, 'head.', 'network.head.')
        {'head.fc.': 'network.head.linear.', 'head.': 'network.head.'}
    """
    return {published + left: ours + right for left, right in patterns.items()}


def _replace_first(name: str, rows: Iterable[tuple[str, str]]) -> str | None:
    for pattern, replacement in rows:
        regex, offsets = _parse(pattern)
        match = regex.match(name)
        if match is None:
            continue
        numbers = [int(n) - offset for n, offset in zip(match.groups(), offsets, strict=True)]
        if all(number >= 0 for number in numbers):
            return _fill(replacement, numbers) + name[match.end() :]
    return None


@cache
def _parse(pattern: str) -> tuple[re.Pattern, list[int]]:
    """Returns the regular expression of a pattern, and what is to be subtracted of its numbers."""
    texts = _PLACEHOLDER.split(pattern)[::2]
    offsets = [int(offset or 0) for offset in _PLACEHOLDER.findall(pattern)]
    return re.compile(r'(\d+)'.join(map(re.escape, texts))), offsets


def _fill(pattern: str, numbers: list[int]) -> str:
    remaining = iter(numbers)
    return _PLACEHOLDER.sub(lambda match: str(next(remaining) + int(match[1] or 0)), pattern)
