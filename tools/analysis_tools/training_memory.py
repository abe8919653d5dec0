#!/usr/bin/env python
"""What a training step keeps in memory, counted without weights and without a GPU:

    python tools/analysis_tools/training_memory.py CONFIG [--variants reference bfloat16+ema ...]
        [--batch-size 4] [--side 1024]

A variant is what `tools/train.py --with` merges, joined by '+'. Counted are the weights, gradients,
optimizer states and EMA weights (float32; an 8-bit optimizer's states one byte each), and what the
U-Net's forward pass saves for the backward pass, operator by operator, on tensors without content.
Not counted: the VAE's transient activations, copies that autocast makes of a checkpointed block's
weights, what such a block computes again, workspaces, fragmentation.
"""

import argparse
from pathlib import Path

import mmdiffdis  # noqa: F401, isort: skip - first, for it reports a missing or unsuitable MMEngine

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdiffdis.apis.configs import load_config
from mmdiffdis.cli import BUILD_ERRORS, one_line_errors
from mmdiffdis.models.diffdis.noise import GaussianNoise
from mmdiffdis.structures import image_key
from mmdiffdis.utils.tables import markdown

OPTIONS = Path(__file__).parents[2] / 'configs/_base_/options'
GIB = 2**30
FLOAT32 = 4  # bytes


def count(config: Config, batch_size: int, side: int) -> dict[str, float]:
    """Bytes by name: 'weights', 'gradients', 'optimizer', 'ema', 'activations'.

    Raises:
        ValueError: the model has adapters (LoRA).
    """
    if config.model.get('lora'):
        raise ValueError('adapters cannot be counted: peft does not build without content')
    wrapper = config.optim_wrapper
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = MODELS.build(dict(config.model, noise=dict(type='GaussianNoise'))).train()
        numbers = sum(parameter.numel() for parameter in model.parameters())
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        half = 'Amp' in wrapper.type or 'BFloat16' in wrapper.type
        return {
            'weights': FLOAT32 * numbers,
            'gradients': FLOAT32 * trained,
            'optimizer': 2 * trained * (1 if '8bit' in wrapper.optimizer.type else FLOAT32),
            'ema': FLOAT32 * numbers if 'ema' in config.default_hooks else 0,
            'activations': saved_bytes(model, batch_size, side, half),
        }


def saved_bytes(model: nn.Module, batch_size: int, side: int, half: bool) -> int:
    """Bytes of the tensors, each counted once, that the U-Net's forward pass saves.

    Args:
        model: a `DiffusionSegmentor`.
        batch_size: B.
        side: of the images, in pixels.
        half: in bfloat16's autocast.
    """
    assert isinstance(model.noise, GaussianNoise)  # the pyramid's sizes depend on drawn numbers
    channels, latent_side = model.vae.latent_channels, side // model.vae.size_divisor
    pairs = {
        image_key(level): torch.zeros(batch_size, channels, *[latent_side // 2**level] * 2)
        for level in range(model.num_scales)
    }
    pairs |= {name: torch.zeros_like(pairs[image_key(0)]) for name in model.targets}
    kept = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
    sizes: dict[int, int] = {}
    alive = []  # an address is given anew when a tensor is gone

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in kept:
            sizes[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast('cpu', torch.bfloat16, enabled=half),
    ):
        sum(model.loss(pairs, []).values())
    return sum(sizes.values())


def main(argv: list[str] | None = None) -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', metavar='CONFIG', help='config file')
    parser.add_argument('--variants', nargs='+', default=['reference'], metavar='OPTION+OPTION')
    parser.add_argument('--batch-size', type=int, default=4, metavar='N')
    parser.add_argument('--side', type=int, default=1024, metavar='PIXELS')
    args = parser.parse_args(argv)
    init_default_scope('mmseg')
    rows = []
    with one_line_errors(BUILD_ERRORS):
        for variant in args.variants:
            names = [] if variant == 'reference' else variant.split('+')
            config = load_config(args.config, fragments=[OPTIONS / f'{n}.py' for n in names])
            config.model.init_cfg = None
            counted = count(config, args.batch_size, args.side)
            rows.append([variant, *counted.values(), sum(counted.values())])
    cells = [[variant, *(f'{size / GIB:.2f}' for size in sizes)] for variant, *sizes in rows]
    print(f'GiB, batch of {args.batch_size}, {args.side}x{args.side}\n')
    print(markdown(['variant', *counted, 'total'], cells))


if __name__ == '__main__':
    main()
