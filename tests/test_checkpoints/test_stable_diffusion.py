"""Initialisation from Stable Diffusion: which weights it takes, how, and what it refuses."""

import re
import sys

import pytest
import torch
from conftest import tiny_config
from diffusers import AutoencoderKL, UNet2DConditionModel
from mmseg.registry import MODELS
from safetensors.torch import load_file, save_file
from stable_diffusion_folder import FAULTS, UNET, VAE, edit_json, edit_weights

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.checkpoints.diffusers_names import UNET_NAMES


@pytest.fixture
def start(tiny):
    """Builds the tiny DiffDIS and initialises it from a folder."""

    def build(pretrained, prompt_embedding=None, **changes):
        model = tiny(
            init_cfg=dict(
                type='StableDiffusionInit',
                pretrained=str(pretrained),
                prompt_embedding=prompt_embedding and str(prompt_embedding),
            ),
            **changes,
        )
        model.init_weights()
        return model.eval()

    return build


PLAIN = dict(neck=dict(interaction=None), backbone=dict(bde=None, swci=None))


@torch.no_grad()
def test_without_additions_the_unet_computes_what_stable_diffusions_does(start, stable_diffusion):
    model = start(stable_diffusion, **PLAIN)
    theirs = UNet2DConditionModel.from_pretrained(stable_diffusion / 'unet')
    latents, steps = torch.randn(2, 4, 16, 16), torch.tensor([999, 3])
    expected = theirs(latents, steps, model.prompt.expand(2, -1, -1)).sample
    (output,) = model.unet(latents, [latents], steps)
    torch.testing.assert_close(output, expected)


def test_every_weight_is_loaded_copied_or_fresh(start, tiny, stable_diffusion):
    model, built = start(stable_diffusion), tiny().state_dict()
    unet, vae = load_file(stable_diffusion / UNET), load_file(stable_diffusion / VAE)
    state = model.state_dict()
    names = UNET_NAMES.to_published({name: name for name in state})
    fresh = set()
    for published, name in names.items():
        origin = published.replace('attn3', 'attn1').replace('norm2_', 'norm1')
        if published == 'conv_in.weight':
            for half in state[name].split(4, dim=1):
                assert torch.equal(half, unet[published] / 2)
        elif origin in unet:
            assert torch.equal(state[name], unet[origin]), name
        else:
            assert torch.equal(state[name], built[name]), name
            fresh.add(name.split('.')[1])
    assert fresh == {'bde', 'swci'}
    assert set(unet) <= {n.replace('attn3', 'attn1').replace('norm2_', 'norm1') for n in names}
    for injector in model.backbone.swci.injectors:
        assert not any(
            p.any() for part in (injector.scale, injector.shift) for p in part.parameters()
        )
    for name, tensor in vae.items():
        assert torch.equal(state[f'vae.autoencoder.{name}'], tensor)


@torch.no_grad()
def test_vae_and_prompt_are_diffusers_and_transformers(start, stable_diffusion):
    from transformers import CLIPTextModel

    model = start(stable_diffusion)
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    vae = AutoencoderKL.from_pretrained(stable_diffusion / 'vae')
    latent = vae.encode(image).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(model.vae.encode(image), latent)
    encoder = CLIPTextModel.from_pretrained(stable_diffusion / 'text_encoder')
    tokens = torch.tensor([[2, 3]])  # beginning and end of the text, no padding
    torch.testing.assert_close(model.prompt, encoder(tokens)[0])


@pytest.mark.parametrize(
    'changes',
    [
        dict(neck=None),
        dict(neck=dict(interaction=None)),
        dict(neck=dict(interaction='concat')),
        dict(backbone=dict(swci=None)),
        dict(backbone=dict(bde=None)),
        dict(backbone=dict(swci_levels=2)),
        dict(edge=False),
    ],
    ids=str,
)
def test_ablations_start_as_well(start, stable_diffusion, changes):
    model = start(stable_diffusion, **changes)
    shift = load_file(stable_diffusion / UNET)['conv_norm_out.bias']
    assert torch.equal(model.backbone.conv_norm_out.bias, shift)
    if changes.get('neck', {}) is not None and model.neck.transformer.mutual_attention:
        copy = model.neck.transformer.mutual_attention.attention.state_dict()
        for name, tensor in model.neck.transformer.self_attention.state_dict().items():
            assert torch.equal(copy[name], tensor)


def test_vae_reconstructor_takes_the_vae_alone(stable_diffusion):
    init_cfg = dict(type='StableDiffusionInit', pretrained=str(stable_diffusion))
    config = dict(type='VAEReconstructor', size=(32, 32), init_cfg=init_cfg)
    model = MODELS.build(dict(config, vae=tiny_config()['vae']))
    model.init_weights()
    for name, tensor in load_file(stable_diffusion / VAE).items():
        assert torch.equal(model.vae.autoencoder.state_dict()[name], tensor)


def test_prediction_type_is_the_folders_and_stays_with_the_weights(start, tiny, predict_v):
    model = start(predict_v)
    assert model.scheduler.prediction_type == 'v_prediction'
    later = tiny()
    assert later.scheduler.prediction_type == 'epsilon'
    later.load_state_dict(model.state_dict())
    assert later.scheduler.prediction_type == 'v_prediction'
    noisy, output = torch.randn(2, 1, 4, 8, 8)
    clean = model.scheduler.to_clean(noisy, output, 999)
    assert torch.equal(later.scheduler.to_clean(noisy, output, 999), clean)


def test_half_precision_source(start, stable_diffusion):
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion / 'unet').half()
    (stable_diffusion / UNET).unlink()
    unet.save_pretrained(stable_diffusion / 'unet', variant='fp16')
    weight = start(stable_diffusion).backbone.conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight[:, 4:], unet.conv_in.weight.float() / 2)


# Stable Diffusion's own VAE is stored in the first of these shapes.
@pytest.mark.parametrize('shape', ['linear', 'convolution'])
def test_old_names_of_the_vaes_attention(start, stable_diffusion, shape):
    expected = start(stable_diffusion).vae.state_dict()
    old = {'.to_q.': '.query.', '.to_k.': '.key.', '.to_v.': '.value.', '.to_out.0.': '.proj_attn.'}

    def age(weights):
        for name in [name for name in weights if 'attentions.0.to_' in name]:
            tensor = weights.pop(name)
            for today, then in old.items():
                name = name.replace(today, then)
            is_weight = tensor.ndim == 2 and shape == 'convolution'
            weights[name] = tensor[:, :, None, None] if is_weight else tensor

    edit_weights(stable_diffusion / VAE, age)
    assert 'encoder.mid_block.attentions.0.proj_attn.weight' in load_file(stable_diffusion / VAE)
    for name, tensor in start(stable_diffusion).vae.state_dict().items():
        assert torch.equal(expected[name], tensor), name


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(('part', 'fault'), [('unet', 'missing'), ('vae', 'transposed')])
def test_misfits_are_named(start, stable_diffusion, part, fault):
    change, in_unet, in_vae = FAULTS[fault]
    edit_weights(stable_diffusion / (UNET if part == 'unet' else VAE), change)
    message = in_unet if part == 'unet' else in_vae
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        start(stable_diffusion)
    assert f'sd-turbo/{part} does not fit the model' in str(caught.value)


def test_incomplete_mid_block_is_refused(start, stable_diffusion):
    attention = 'mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight'
    edit_weights(stable_diffusion / UNET, lambda weights: weights.pop(attention))
    with pytest.raises(CheckpointError, match='2 missing: .*attn1.to_q.weight.*attn3.to_q'):
        start(stable_diffusion)


@pytest.mark.parametrize(
    ('file', 'changes', 'message'),
    [
        (
            'scheduler/scheduler_config.json',
            dict(beta_end=0.02),
            'scheduler .* says beta_end=0.02 .the model: 0.012.; .* model.scheduler.beta_end=0.02',
        ),
        (
            'unet/config.json',
            dict(attention_head_dim=[4, 4, 4, 4]),
            r'says num_heads=\[4, 4, 4, 4\] .the model: \[2, 4, 6, 6\].; .*'
            r'--cfg-options model.backbone.num_heads=\[4,4,4,4\]',
        ),
        ('unet/config.json', dict(attention_head_dim=8), r'num_heads=\[8, 8, 8, 8\]'),
        ('unet/config.json', dict(flip_sin_to_cos=False), 'flip_sin_to_cos=False .the model: True'),
        ('vae/config.json', dict(scaling_factor=0.13), '--cfg-options model.vae.scaling_fac'),
        ('vae/config.json', dict(norm_num_groups=4), 'norm_num_groups=4 .the model: 8'),
    ],
)
def test_settings_that_shapes_do_not_show_agree(start, stable_diffusion, file, changes, message):
    edit_json(stable_diffusion / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        start(stable_diffusion)


def test_missing_scaling_factor_is_diffusers_default(start, stable_diffusion):
    edit_json(stable_diffusion / 'vae' / 'config.json', scaling_factor=None)
    start(stable_diffusion)
    with pytest.raises(CheckpointError, match=r'scaling_factor=0.18215 .the model: 1.0'):
        start(stable_diffusion, vae=dict(scaling_factor=1.0))


def test_missing_folder_is_named_with_its_option(start):
    with pytest.raises(FileNotFoundError, match=r'\./none is not .* model\.init_cfg\.pretrained='):
        start('./none')


@pytest.mark.parametrize('name', ['vae', 'unet', 'scheduler', 'text_encoder', 'tokenizer'])
def test_missing_part_of_a_folder_is_named(start, stable_diffusion, name):
    (stable_diffusion / name).rename(stable_diffusion / 'elsewhere')
    with pytest.raises(FileNotFoundError, match=f'sd-turbo has no {name}/; expected a folder'):
        start(stable_diffusion)


# --- prompt ----------------------------------------------------------------------------------


def test_prompt_from_a_file_needs_no_text_encoder(start, stable_diffusion, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    embedding = torch.randn(2, 48)
    save_file({'any': embedding}, tmp_path / 'prompt.safetensors')
    torch.save(embedding[None], tmp_path / 'prompt.pt')
    for name in ('prompt.safetensors', 'prompt.pt'):
        assert torch.equal(start(stable_diffusion, tmp_path / name).prompt, embedding[None])
    with pytest.raises(ImportError, match=r"pip install 'mmdiffdis\[convert\]'"):
        start(stable_diffusion)


def test_prompt_of_another_size_is_refused(start, stable_diffusion, tmp_path):
    save_file({'prompt': torch.zeros(1, 77, 48)}, tmp_path / 'a.safetensors')
    with pytest.raises(
        CheckpointError, match=r'\[1, 77, 48\], expected \[1, 2, 48\]; .*_tokens=77'
    ):
        start(stable_diffusion, tmp_path / 'a.safetensors')
    save_file({'prompt': torch.zeros(1, 2, 40)}, tmp_path / 'b.safetensors')
    with pytest.raises(CheckpointError, match=r'\[1, 2, 40\], expected \[1, 2, 48\]$'):
        start(stable_diffusion, tmp_path / 'b.safetensors')
    save_file({'x': torch.zeros(1), 'y': torch.zeros(1)}, tmp_path / 'c.safetensors')
    with pytest.raises(CheckpointError, match='2 tensors, expected the embedding alone'):
        start(stable_diffusion, tmp_path / 'c.safetensors')
