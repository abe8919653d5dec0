"""Parameters and floating-point operations of a segmentor, counted without running it."""

from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Cost of predicting one image.

    Attributes:
        parameters: Number of parameters of each part of the model, in running order.
        flop: Floating-point operations of the same parts; a multiply-add counts as 2.
        total_flop: Operations of the whole prediction, including those outside the parts.
    """

    parameters: dict[str, int]
    flop: dict[str, int]
    total_flop: int

    @property
    def total_parameters(self) -> int:
        """Number of parameters of all parts."""
        return sum(self.parameters.values())


class EmptyOn(TorchFunctionMode):
    """Makes `torch.empty`, which creates parameters, allocate on a device.

    `torch.device(...)` would apply to every tensor, and constructors that compute a number from
    tensors (mmseg's Swin: the rates of its drop paths) fail on the meta device, where these have no
    values.

    Args:
        device: 'meta' allocates nothing; a GPU initialises the weights of large models there.
    """

    def __init__(self, device: torch.device | str):
        super().__init__()
        self._device = device

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.empty:
            kwargs = {**kwargs, 'device': self._device}
        return function(*args, **kwargs)


def build_on_meta(model: ConfigDict) -> nn.Module:
    """Returns the model of a config in evaluation mode, with shapes but without weights."""
    with EmptyOn('meta'):
        built = MODELS.build(model)
    built.eval()  # not chained: some backbones of mmseg return None
    return built.to('meta')


def parts_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Returns the modules of each part of a model, in running order.

    Together they have all parameters that prediction uses. A model may define them
    (`cost_parts()`); otherwise each child with parameters is a part.
    """
    if hasattr(model, 'cost_parts'):
        return model.cost_parts()
    children = model.named_children()
    return {name: [child] for name, child in children if any(True for _ in child.parameters())}


@torch.no_grad()
def count_cost(model: nn.Module, shape: tuple[int, int]) -> Cost:
    """Counts the parameters and operations of one prediction.

    PyTorch's `FlopCounterMode` counts convolutions, matrix products and attention, not
    normalisations, activations and resizing. On the meta device attention is two matrix products,
    whichever kernel a real device would use.

    Args:
        model: A segmentor on the meta device, e.g. from `build_on_meta`.
        shape: (H, W) of the network's input.

    Raises:
        ValueError: If the model cannot take an image of this shape.
    """
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, *shape, device='meta'), mode='tensor')
    # 'DiffusionSegmentor.backbone.conv_in' -> number of operations
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    counts = {name.partition('.')[2]: count for name, count in counts.items()}
    names = {module: name for name, module in model.named_modules()}
    parameters, flop = {}, {}
    for part, modules in parts_of(model).items():
        parameters[part] = sum(p.numel() for p in nn.ModuleList(modules).parameters())
        inside = tuple(f'{names[module]}.' for module in modules)
        called = {name: n for name, n in counts.items() if f'{name}.'.startswith(inside)}
        flop[part] = sum(_outermost(called).values())
    return Cost(parameters, flop, counter.get_total_flops())


def _outermost(counts: dict[str, int]) -> dict[str, int]:
    """Removes modules that are inside others: a module's count includes those of its children."""
    return {
        name: count
        for name, count in counts.items()
        if not any(name.startswith(f'{other}.') for other in counts)
    }
