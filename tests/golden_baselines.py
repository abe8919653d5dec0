"""Numbers that released baselines computed, with the weights they computed them with."""

import json
import re
from dataclasses import dataclass

import numpy as np
import torch
from conftest import DATA, load_keys, weights_by_name


@dataclass
class Golden:
    """Numbers of one released model.

    Attributes:
        meta: 'seed', 'rules', 'inputs' (name -> shape) and what else they depend on.
        raw: name -> array; `NAME.stride` says which part of the whole map `NAME` is, and
            `NAME.stats` are mean, standard deviation and sum of magnitudes of the whole.
    """

    meta: dict
    raw: dict[str, np.ndarray]

    def error(self, name: str, whole: torch.Tensor) -> float:
        """Largest difference over the standard deviation, of the part kept and of the statistics.

        Infinite for another shape.
        """
        whole = whole.detach().numpy()
        if whole.shape != tuple(self.raw[f'{name}.shape']):
            return np.inf
        part = whole[tuple(slice(None, None, int(step)) for step in self.raw[f'{name}.stride'])]
        mean, deviation, magnitude = self.raw[f'{name}.stats']
        x = whole.astype(np.float64)
        differences = [np.abs(part - self.raw[name]).max(), x.mean() - mean, x.std() - deviation]
        return max(np.abs(differences).max() / deviation, abs(np.abs(x).sum() / magnitude - 1))

    def gradients(self, loss: str) -> dict[str, tuple[float, float]]:
        """Published name -> norm and sum of the gradient of a loss."""
        names, figures = (self.raw[f'grad.{loss}.{key}'] for key in ('names', 'l2_sum'))
        return {str(name): tuple(pair) for name, pair in zip(names, figures, strict=True)}


def load_golden(name: str) -> Golden:
    """The numbers of `tests/data/baselines/NAME.npz`."""
    with np.load(DATA / 'baselines' / f'{name}.npz') as file:
        raw = {key: file[key] for key in file.files}
    return Golden(json.loads(str(raw.pop('meta'))), raw)


def golden_weights(name: str, seed: int, rules: list) -> dict[str, torch.Tensor]:
    """Weights of the names and shapes in `tests/data/baselines/NAME_keys.json`.

    Args:
        name: of the model.
        seed: of the weights.
        rules: [pattern, 'gain', factor] or [pattern, 'keep'], which leaves the weight out; the
            first that is found in a name counts.
    """
    weights = weights_by_name(load_keys(f'baselines/{name}_keys.json'), seed)
    for key in list(weights):
        _, kind, *numbers = next((r for r in rules if re.search(r[0], key)), (None, 'gain', 1))
        if kind == 'keep':
            del weights[key]
        else:
            weights[key] = weights[key] * numbers[0]
    return weights
