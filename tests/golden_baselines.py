"""Golden numbers of released baselines, and the weights that they were computed with."""

import json
import re
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from conftest import DATA, load_keys, normal, weights_by_name


@dataclass
class Golden:
    """Golden numbers of one released model.

    Attributes:
        meta: 'seed', 'rules', 'inputs' (name -> shape) and what else the numbers depend on.
        raw: Name -> array. `NAME` is a strided part of a map, `NAME.shape` and `NAME.stride` say
            which, and `NAME.stats` are mean, standard deviation and sum of magnitudes of the whole.
    """

    meta: dict
    raw: dict[str, np.ndarray]

    def error(self, name: str, result: torch.Tensor) -> float:
        """Returns the largest difference of the stored part and the statistics of a map.

        In standard deviations of the map; infinite for another shape.
        """
        result = result.detach().cpu().numpy()
        if result.shape != tuple(self.raw[f'{name}.shape']):
            return np.inf
        part = result[tuple(slice(None, None, int(step)) for step in self.raw[f'{name}.stride'])]
        mean, deviation, magnitude = self.raw[f'{name}.stats']
        x = result.astype(np.float64)
        differences = [np.abs(part - self.raw[name]).max(), x.mean() - mean, x.std() - deviation]
        return max(np.abs(differences).max() / deviation, abs(np.abs(x).sum() / magnitude - 1))

    def gradients(self, loss: str) -> dict[str, tuple[float, float]]:
        """Returns published name -> norm and sum of the gradient of a loss."""
        names, numbers = (self.raw[f'grad.{loss}.{key}'] for key in ('names', 'l2_sum'))
        return {str(name): tuple(pair) for name, pair in zip(names, numbers, strict=True)}


def load_golden(name: str) -> Golden:
    """Returns the golden numbers of `tests/data/baselines/NAME.npz`."""
    with np.load(DATA / 'baselines' / f'{name}.npz') as file:
        raw = {key: file[key] for key in file.files}
    return Golden(json.loads(str(raw.pop('meta'))), raw)


def golden_weights(name: str, seed: int, rules: list) -> dict[str, torch.Tensor]:
    """Returns weights of the names and shapes in `tests/data/baselines/NAME_keys.json`.

    Args:
        name: Name of the model.
        seed: Seed of the weights.
        rules: [pattern, 'gain', factor], [pattern, 'affine', mean, deviation] or [pattern, 'keep'],
            which leaves the weight out. The first pattern found in a weight's name applies.
    """
    weights = weights_by_name(load_keys(f'baselines/{name}_keys.json'), seed)
    for key in list(weights):
        _, kind, *numbers = next((r for r in rules if re.search(r[0], key)), (None, 'gain', 1))
        if kind == 'keep':
            del weights[key]
        elif kind == 'affine':
            mean, deviation = numbers
            noise = normal((zlib.crc32(key.encode()) + seed) % 2**32, weights[key].shape)
            weights[key] = mean + deviation * noise
        else:
            weights[key] = weights[key] * numbers[0]
    return weights
