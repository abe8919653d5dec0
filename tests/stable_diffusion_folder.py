"""Fixtures: tiny folders in Stable Diffusion's layout, and faults of their weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

WIDTHS = (32, 64, 96, 96)  # those of conftest.tiny_config
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
UNET = 'unet/diffusion_pytorch_model.safetensors'
VAE = 'vae/diffusion_pytorch_model.safetensors'


def tiny_unet() -> UNet2DConditionModel:
    """Returns a tiny U-Net of Stable Diffusion 2, with 4 input channels and random weights."""
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        cross_attention_dim=48,
        attention_head_dim=[2, 4, 6, 6],
        use_linear_projection=True,
        norm_num_groups=16,
        down_block_types=['CrossAttnDownBlock2D'] * 3 + ['DownBlock2D'],
        up_block_types=['UpBlock2D'] + ['CrossAttnUpBlock2D'] * 3,
    ).eval()


def tiny_vae() -> AutoencoderKL:
    """Returns a tiny VAE of Stable Diffusion with random weights."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 32, 32),
        down_block_types=['DownEncoderBlock2D'] * 4,
        up_block_types=['UpDecoderBlock2D'] * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    ).eval()


def write_text_encoder(root: Path) -> None:
    """Writes a CLIP text encoder of 48 channels, and a tokenizer that knows the letter a."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=4,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
    )
    CLIPTextModel(config).save_pretrained(root / 'text_encoder')
    folder = root / 'tokenizer'
    folder.mkdir()
    begin, end = '<|startoftext|>', '<|endoftext|>'
    (folder / 'vocab.json').write_text(json.dumps({'a': 0, 'a</w>': 1, begin: 2, end: 3}))
    (folder / 'merges.txt').write_text('#version: 0.2\n')
    special = dict(bos_token=begin, eos_token=end, unk_token=end, pad_token='a')
    settings = dict(special, tokenizer_class='CLIPTokenizer', model_max_length=16)
    (folder / 'tokenizer_config.json').write_text(json.dumps(settings))


@pytest.fixture(scope='session')
def _stable_diffusion(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('sd') / 'sd-turbo'
    torch.manual_seed(3)
    tiny_unet().save_pretrained(root / 'unet')
    tiny_vae().save_pretrained(root / 'vae')
    EulerDiscreteScheduler(**BETAS, timestep_spacing='trailing').save_pretrained(root / 'scheduler')
    write_text_encoder(root)
    return root


@pytest.fixture
def stable_diffusion(_stable_diffusion, tmp_path) -> Path:
    """A folder like SD-Turbo's, which the test may change."""
    return Path(shutil.copytree(_stable_diffusion, tmp_path / 'sd-turbo'))


@pytest.fixture
def predict_v(stable_diffusion) -> Path:
    """A folder like SD 2.1's for 768 pixels, which predicts v."""
    scheduler = DDIMScheduler(**BETAS, prediction_type='v_prediction')
    scheduler.save_pretrained(stable_diffusion / 'scheduler')
    return stable_diffusion


def edit_json(path: Path, **changes) -> None:
    """Changes entries of a JSON file; `None` removes one."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Rewrites a safetensors file after `change` was applied to its weights."""
    weights = load_file(path)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)


def add_weight(weights: dict[str, Tensor]) -> None:
    """Adds an unknown weight."""
    weights['down_blocks.9.extra.weight'] = torch.zeros(2)


def remove_weight(weights: dict[str, Tensor]) -> None:
    """Removes a weight of the U-Net or the VAE."""
    del weights['conv_out.bias' if 'conv_out.bias' in weights else 'decoder.conv_out.bias']


def transpose_weight(weights: dict[str, Tensor]) -> None:
    """Transposes a weight of the U-Net or the VAE."""
    unet, vae = 'time_embedding.linear_1.weight', 'decoder.conv_out.weight'
    name = unet if unet in weights else vae
    weights[name] = weights[name].transpose(0, 1)


# fault -> change of the weights, part of the message for the U-Net, the same for the VAE
FAULTS = {
    'extra': (add_weight, *['1 unexpected: down_blocks.9.extra.weight'] * 2),
    'missing': (remove_weight, '1 missing: conv_out.bias', '1 missing: decoder.conv_out.bias'),
    'transposed': (
        transpose_weight,
        '1 misshapen: time_embedding.linear_1.weight (got [32, 128], expected [128, 32])',
        '1 misshapen: decoder.conv_out.weight (got [16, 3, 3, 3], expected [3, 16, 3, 3])',
    ),
}
