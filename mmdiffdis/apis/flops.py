"""What a segmentor costs: parameters and floating-point operations, without running it."""

from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ..models import DiffusionSegmentor, DISBaseline, LatentAutoencoder

# Part of a model: the modules that it consists of, in the order in which they run.
_VAE_ENCODER = ('vae.autoencoder.encoder', 'vae.autoencoder.quant_conv')
_VAE_DECODER = ('vae.autoencoder.post_quant_conv', 'vae.autoencoder.decoder')
_DIFFUSION_PARTS = {
    'encode (VAE encoder)': _VAE_ENCODER,
    'U-Net down (backbone)': (
        'backbone.time_embedding',
        'backbone.bde',
        'backbone.conv_in',
        'backbone.down_blocks',
        'backbone.swci',
    ),
    'U-Net mid (neck)': ('neck',),
    'U-Net up (backbone)': ('backbone.up_blocks', 'backbone.conv_norm_out', 'backbone.conv_out'),
    'decode (VAE decoder)': _VAE_DECODER,
}
_VAE_PARTS = {'encode (VAE encoder)': _VAE_ENCODER, 'decode (VAE decoder)': _VAE_DECODER}


@dataclass(frozen=True)
class Cost:
    """What one prediction of one image takes.

    Attributes:
        parameters: number of parameters of each part of the model, in the order they are used.
        flop: floating-point operations of the same parts; 2 for a multiplication with its addition.
        total_flop: of the whole prediction; more than the sum if something runs outside the parts.
    """

    parameters: dict[str, int]
    flop: dict[str, int]
    total_flop: int

    @property
    def total_parameters(self) -> int:
        """Number of parameters of the whole model."""
        return sum(self.parameters.values())


class _EmptyOnMeta(TorchFunctionMode):
    """Inside, `torch.empty`, which parameters are made of, allocates nothing.

    `torch.device('meta')` would take every tensor, and constructors that compute a number (mmseg's
    Swin: the rates of its drop paths) fail on tensors without values.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = {**(kwargs or {}), 'device': 'meta'} if function is torch.empty else kwargs or {}
        return function(*args, **kwargs)


def build_on_meta(model: ConfigDict) -> nn.Module:
    """The model of a config, ready for prediction, with shapes but without weights."""
    with _EmptyOnMeta():
        built = MODELS.build(model)
    built.eval()  # which does not return every backbone of mmseg
    return built.to('meta')


@torch.no_grad()
def count_cost(model: nn.Module, shape: tuple[int, int]) -> Cost:
    """Parameters and operations of one prediction.

    Counted by PyTorch's `FlopCounterMode`: convolutions, matrix products and attention;
    normalisations, activations and resizing are left out. On the meta device attention is two
    matrix products, whatever kernel a real device would take.

    Args:
        model: a segmentor on the meta device, as of :func:`build_on_meta`.
        shape: (H, W) of the network's input.

    Raises:
        ValueError: what the model raises for a shape that it cannot take.
    """
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, *shape, device='meta'), mode='tensor')
    # 'DiffusionSegmentor.backbone.conv_in' -> number of operations
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    called = {name.partition('.')[2]: count for name, count in counts.items()}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    parts = _parts(model)
    return Cost(
        parameters={part: sum(_inside(sizes, names).values()) for part, names in parts.items()},
        flop={
            part: sum(_outermost(_inside(called, names)).values()) for part, names in parts.items()
        },
        total_flop=counter.get_total_flops(),
    )


def _parts(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Part -> names of its modules; together they have all parameters that predicting takes."""
    if isinstance(model, DiffusionSegmentor):
        return _DIFFUSION_PARTS
    training_only = model.PUBLISHED.training_only if isinstance(model, DISBaseline) else ()
    parts = {}
    for name, child in model.named_children():
        if f'{name}.'.startswith(training_only):
            continue
        if isinstance(child, LatentAutoencoder):
            parts.update(_VAE_PARTS)
        elif any(True for _ in child.parameters()):
            parts[name] = (name,)
    return parts


def _inside(numbers: dict[str, int], modules: tuple[str, ...]) -> dict[str, int]:
    """Those of the numbers, filed by dotted names, that belong to one of the modules."""
    return {
        name: number
        for name, number in numbers.items()
        if any(f'{name}.'.startswith(f'{module}.') for module in modules)
    }


def _outermost(counts: dict[str, int]) -> dict[str, int]:
    """Without the modules that are part of others: a module's count includes its children's."""
    return {
        name: count
        for name, count in counts.items()
        if not any(name.startswith(f'{other}.') for other in counts)
    }
