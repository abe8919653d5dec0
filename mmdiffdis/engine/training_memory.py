"""Memory of a training step, counted without weights and without a GPU."""

import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from torch import Tensor, nn

# PyTorch documents fake tensors (tensors without content, on any device) under this private name
# only. The meta device is no substitute: autocast ignores it.
from torch._subclasses.fake_tensor import FakeTensorMode

from ..structures import image_key

FLOAT32 = 4  # bytes


def count_bytes(config: Config, batch_size: int, side: int) -> dict[str, int]:
    """Returns the bytes of a DiffDIS training step by part.

    Args:
        config: Training config of a `DiffusionSegmentor`.
        batch_size: B.
        side: Side of the images in pixels.

    Returns:
        'weights', 'gradients', 'optimizer', 'ema' and 'activations' (see `count_saved_bytes`).

    Raises:
        ValueError: If the model has adapters (LoRA).
    """
    if config.model.get('lora'):
        raise ValueError(
            'adapters (model.lora) cannot be counted, because peft does not build them without '
            'content; leave out lora'
        )
    wrapper = config.optim_wrapper
    # The sizes of pyramid noise are drawn at random, which needs content.
    model_config = dict(config.model, noise=dict(type='GaussianNoise'))
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = MODELS.build(model_config).train()
        total = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        bfloat16 = 'Amp' in wrapper.type or 'BFloat16' in wrapper.type
        return {
            'weights': FLOAT32 * total,
            'gradients': FLOAT32 * trained,
            'optimizer': 2 * trained * (1 if '8bit' in wrapper.optimizer.type else FLOAT32),
            'ema': FLOAT32 * total if 'ema' in config.default_hooks else 0,
            'activations': count_saved_bytes(model, batch_size, side, bfloat16),
        }


def count_saved_bytes(model: nn.Module, batch_size: int, side: int, bfloat16: bool) -> int:
    """Returns the bytes that the U-Net's forward pass saves for the backward pass.

    Each storage counts once; weights and buffers do not count.

    Args:
        model: A `DiffusionSegmentor` with `GaussianNoise`.
        batch_size: B.
        side: Side of the images in pixels.
        bfloat16: Whether the forward pass runs under bfloat16 autocast.
    """
    channels, latent_side = model.vae.latent_channels, side // model.vae.size_divisor
    pairs = {
        image_key(level): torch.zeros(batch_size, channels, *[latent_side // 2**level] * 2)
        for level in range(model.num_scales)
    }
    pairs |= {name: torch.zeros_like(pairs[image_key(0)]) for name in model.targets}
    weights = {p.untyped_storage() for p in (*model.parameters(), *model.buffers())}
    saved = set()

    def save(tensor: Tensor) -> Tensor:
        saved.add(tensor.untyped_storage())  # the same object for all views of a tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        torch.autocast('cpu', torch.bfloat16, enabled=bfloat16),
    ):
        sum(model.loss(pairs, []).values())
    return sum(storage.nbytes() for storage in saved - weights)
