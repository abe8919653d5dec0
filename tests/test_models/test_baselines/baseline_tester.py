"""Comparison of a baseline with the golden numbers of its released implementation."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import DEVICE, ROOT, load_keys, normal
from golden_baselines import Golden, golden_weights, load_golden
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner.checkpoint import load_state_dict
from mmseg.registry import MODELS
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd


def build(name: str, seed: int = 0, **changes) -> torch.nn.Module:
    """Builds the model of a config below configs/, in evaluation mode.

    Args:
        name: Path of the config without its suffix.
        seed: Seed of the initial weights.
        **changes: Options of the model to change; '.' in their names as in `--cfg-options`.
    """
    init_default_scope('mmseg')
    torch.manual_seed(seed)
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    config.model.data_preprocessor = None
    config.merge_from_dict({f'model.{option}': value for option, value in changes.items()})
    return MODELS.build(config.model).eval()


def rates_of_epochs(name: str) -> list[float]:
    """Returns the learning rate of each epoch of a config below configs/."""
    config = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    optimizer = build_optim_wrapper(torch.nn.Linear(1, 1), config.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build({**config.param_scheduler, 'optimizer': optimizer})
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates += optimizer.get_lr()['lr']
        scheduler.step()
    return rates


class BaselineTester:
    """Tests of maps, losses, gradients and published names; a subclass says what corresponds.

    Attributes:
        NAME: Name of the golden numbers, see `load_golden`.
        CONFIG: Config of the model, see `build`.
        TOLERANCE: Largest difference of a map, in its standard deviations.
        GRADIENTS: Loss whose gradients are golden numbers; None: there are none.
        GRADIENT_TOLERANCE: Largest difference of a gradient's norm, relative to the norm.
        SUM_TOLERANCE: The same of its sum; None: sums are not compared.
        GRADIENT_PREFIX: Stands before the gradients' names in published weights.
        TRAINING_LOSS: Sum of the losses in training mode, without dropout; None: there is none.
    """

    NAME: str
    CONFIG: str
    TOLERANCE = 1e-4
    GRADIENTS: str | None = 'eval_total'
    GRADIENT_TOLERANCE = 1e-3
    SUM_TOLERANCE: float | None = None
    GRADIENT_PREFIX = ''
    TRAINING_LOSS: str | None = None

    @classmethod
    def build(cls, golden: Golden) -> torch.nn.Module:
        """Returns the model, with any weights."""
        return build(cls.CONFIG)

    @classmethod
    def weights(cls, golden: Golden) -> dict[str, Tensor]:
        """Returns the golden numbers' weights under their published names."""
        return golden_weights(cls.NAME, golden.meta['seed'], golden.meta['rules'])

    def shapes(self, released: SimpleNamespace) -> dict[str, list[int]]:
        """Returns the published names and shapes of all weights."""
        return load_keys(f'baselines/{self.NAME}_keys.json')

    @classmethod
    def batch(cls, golden: Golden) -> tuple[Tensor, Tensor]:
        """Returns the golden numbers' images [B, 3, H, W] and masks [B, 1, H, W]."""
        seed, shape = golden.meta['seed'], golden.meta['inputs']['x']
        mask = normal(seed + 2, (shape[0], 1, *shape[2:])) > 0.3
        return normal(seed + 1, shape), mask.float()

    @classmethod
    def run(cls, model: torch.nn.Module, images: Tensor) -> Any:
        """Returns the outputs that losses are made of."""
        return model.run(images)

    @classmethod
    def all_losses(
        cls, model: torch.nn.Module, outputs: Any, golden: Golden, mask: Tensor
    ) -> dict[str, Tensor]:
        """Returns the model's losses for the golden numbers' targets."""
        return model.losses(outputs, dict(mask=mask))

    def maps(self, released: SimpleNamespace) -> dict[str, Tensor]:
        """Returns maps under their golden names."""
        raise NotImplementedError

    def losses(self, released: SimpleNamespace) -> dict[str, Tensor]:
        """Returns losses under their golden names, made of `released.losses`."""
        raise NotImplementedError

    @pytest.fixture(scope='class')
    @classmethod
    def released(cls) -> SimpleNamespace:
        """The golden numbers, and the model with their weights and its outputs for their batch."""
        golden = load_golden(cls.NAME)
        model, weights = cls.build(golden), cls.weights(golden)
        load_state_dict(model, {**model.to_published(), **weights}, strict=True)
        model.to(DEVICE)
        images, mask = (tensor.to(DEVICE) for tensor in cls.batch(golden))
        outputs = cls.run(model, images)
        losses = cls.all_losses(model, outputs, golden, mask)
        return SimpleNamespace(
            golden=golden,
            model=model,
            weights=weights,
            images=images,
            mask=mask,
            outputs=outputs,
            losses=losses,
        )

    @torch.no_grad()
    def test_maps_equal_the_released(self, released):
        for name, result in self.maps(released).items():
            assert released.golden.error(name, result) < self.TOLERANCE, name

    def test_losses_and_gradients_equal_the_released(self, released):
        golden, results = released.golden, self.losses(released)
        for name, result in results.items():
            assert result.item() == pytest.approx(golden.raw[f'loss.{name}'].item(), rel=1e-5), name
        if self.GRADIENTS is None:
            return
        # weights without an effect, whose gradient is zero, need not be trained here
        expected = {n: pair for n, pair in golden.gradients(self.GRADIENTS).items() if pair[0]}
        names = [
            released.model.PUBLISHED.our_name(self.GRADIENT_PREFIX + name) for name in expected
        ]
        parameters = [released.model.get_parameter(name) for name in names]
        gradients = torch.autograd.grad(results[self.GRADIENTS], parameters)
        for gradient, (name, (norm, total)) in zip(gradients, expected.items(), strict=True):
            gradient = gradient.cpu().double()
            assert abs(gradient.norm() - norm) < self.GRADIENT_TOLERANCE * norm, name
            if self.SUM_TOLERANCE is not None:
                bound = self.SUM_TOLERANCE * max(abs(total), norm)
                assert abs(gradient.sum() - total) < bound, name

    def test_loss_in_training_mode_equals_the_released(self, released):
        if self.TRAINING_LOSS is None:
            return
        model = deepcopy(released.model).train()  # running statistics change
        for layer in model.modules():
            if isinstance(layer, _DropoutNd):
                layer.p = 0.0
        outputs = self.run(model, released.images)
        total = sum(self.all_losses(model, outputs, released.golden, released.mask).values())
        expected = released.golden.raw[f'loss.{self.TRAINING_LOSS}'].item()
        assert total.item() == pytest.approx(expected, rel=1e-5)

    def test_published_names_are_the_released_ones_both_ways(self, released):
        published = released.model.to_published()
        shapes = {name: list(tensor.shape) for name, tensor in published.items()}
        unused = released.model.PUBLISHED.unused
        expected = self.shapes(released).items()
        assert shapes == {name: shape for name, shape in expected if not name.startswith(unused)}
        for name, tensor in released.weights.items():
            assert name.startswith(unused) or torch.equal(published[name].cpu(), tensor), name
