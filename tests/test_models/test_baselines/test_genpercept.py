"""GenPercept: the numbers of the released implementation, and initialisation from a folder."""

import re
from shutil import rmtree

import pytest
import torch
from baseline_tester import BaselineTester
from conftest import draw_samples, load_keys, normal, tiny_config, weights_by_name
from diffusers import UNet2DConditionModel
from golden_baselines import golden_weights
from mmseg.registry import MODELS
from safetensors.torch import load_file
from stable_diffusion_folder import UNET, VAE, edit_weights

from mmdiffdis.checkpoints import CheckpointError

TOKENS = 77  # of the first release's prompt


def build(**changes):
    torch.manual_seed(0)
    diffdis = tiny_config()
    backbone = {**diffdis['backbone'], 'bde': None, 'swci': None}
    neck = dict(diffdis['neck'], interaction=None)
    config = dict(type='GenPercept', backbone=backbone, neck=neck, vae=diffdis['vae'])
    return MODELS.build({**config, **changes})


class TestGenPercept(BaselineTester):
    NAME = 'genpercept_tiny'
    TOLERANCE = 5e-5
    GRADIENTS = 'v2_pixel_mse'
    SUM_TOLERANCE = 1e-3
    GRADIENT_PREFIX = 'unet.'

    @classmethod
    def build(cls, golden):
        timesteps = golden.meta['train_timesteps']
        return build(prompt_tokens=TOKENS, train_timesteps=timesteps).eval()

    @classmethod
    def weights(cls, golden):
        seed = golden.meta['seed']
        unet = golden_weights('genpercept_tiny_unet', seed, golden.meta['rules'])
        vae = weights_by_name(load_keys('diffdis_vae_keys.json'), seed + 1)
        vae['decoder.conv_out.weight'] *= 0.5
        weights = {f'unet.{name}': tensor for name, tensor in unet.items()}
        weights |= {f'vae.{name}': tensor for name, tensor in vae.items()}
        return weights | {'prompt': normal(seed + 2, (1, TOKENS, 48))}

    def shapes(self, released):
        return {name: list(tensor.shape) for name, tensor in released.weights.items()}

    @classmethod
    def batch(cls, golden):
        seed, shape = golden.meta['seed'], golden.meta['inputs']['x']
        mask = normal(seed + 4, (1, 1, *shape[2:])) > 0.3
        return torch.tanh(normal(seed + 3, shape)), mask.float()

    @classmethod
    def run(cls, model, images):
        outputs = model.train().run(images)
        model.eval()
        return outputs

    def maps(self, released):
        model, network, step = released.model, released.model.network, torch.tensor([1])
        latent = network.vae.encode(released.images)
        decoded = network(released.images, step)
        results = dict(
            rgb_latent=latent,
            unet_out=network.unet(latent[:, :0], [latent], step)[0],
            decoded=decoded,
            v1_seg=decoded.clamp(-1, 1),
            v1_depth=decoded.mean(1, keepdim=True).clamp(-1, 1),
            v2_dis=model(released.images),
        )
        model.clip_channels = True
        results['prob'] = model(released.images)
        model.clip_channels = False
        assert (results['prob'] - results['v2_dis']).abs().max() > 0.01
        return results

    def losses(self, released):
        with torch.no_grad():
            at_step_1 = released.model.losses(
                released.model.run(released.images), dict(mask=released.mask)
            )
        return dict(
            v2_pixel_mse=released.losses['loss_mask'], v2_pixel_mse_t1=at_step_1['loss_mask']
        )


def test_training_samples_a_timestep_per_image_and_inference_takes_the_first(monkeypatch):
    model = build()
    timesteps = []
    forward = model.network.forward
    monkeypatch.setattr(
        model.network, 'forward', lambda x, steps: timesteps.append(steps) or forward(x, steps)
    )
    images = torch.zeros(4, 3, 64, 64)
    with torch.no_grad():
        model.train().loss(images, draw_samples(4, 64))
        model.eval()(images)
    assert len(timesteps[0].unique()) > 1 and timesteps[0].max() > 9
    assert timesteps[1] == 1


@torch.no_grad()
def test_latents_of_any_size_go_through_the_unet_as_in_diffusers(stable_diffusion):
    init_cfg = dict(type='StableDiffusionInit', pretrained=str(stable_diffusion))
    model = build(init_cfg=init_cfg)
    model.init_weights()
    network = model.network.eval()
    theirs = UNet2DConditionModel.from_pretrained(stable_diffusion / 'unet')
    latent, steps = torch.randn(1, 4, 9, 21), torch.tensor([7])
    expected = theirs(latent, steps, network.prompt).sample
    (ours,) = network.unet(latent[:, :0], [latent], steps)
    torch.testing.assert_close(ours, expected)


@torch.no_grad()
def test_sides_that_the_vae_cannot_divide_are_padded_and_cropped():
    model = build().eval()
    image = torch.rand(1, 3, 61, 70) * 2 - 1
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 3, -1)], dim=2)
    padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, 2)], dim=3)
    torch.testing.assert_close(model(image), model(padded)[..., :61, :70])


def test_training_starts_from_stable_diffusion(stable_diffusion):
    rmtree(stable_diffusion / 'scheduler')  # there is no noise
    init_cfg = dict(type='StableDiffusionInit', pretrained=str(stable_diffusion))
    model = build(init_cfg=init_cfg)
    model.init_weights()
    weights = model.to_published()
    for part, file in (('unet', UNET), ('vae', VAE)):
        stored = load_file(stable_diffusion / file)
        assert {n for n in weights if n.startswith(part)} == {f'{part}.{n}' for n in stored}
        for name, tensor in stored.items():
            assert torch.equal(weights[f'{part}.{name}'], tensor), name
    edit_weights(stable_diffusion / UNET, lambda stored: stored.pop('conv_out.bias'))
    with pytest.raises(CheckpointError, match=re.escape('1 missing: conv_out.bias')):
        build(init_cfg=init_cfg).init_weights()


@torch.no_grad()
def test_overflow_is_no_mask():
    model = build(clip_channels=True).eval()
    assert model.probability(torch.full((1, 3, 8, 8), torch.inf)).isnan().all()


@torch.no_grad()
def test_weights_are_cast_part_by_part():
    model, image = build().eval(), torch.rand(1, 3, 64, 64) * 2 - 1
    expected = model(image)
    model.set_precision(torch.bfloat16, torch.float32)
    network = model.network
    assert network.vae.autoencoder.encoder.conv_in.weight.dtype == torch.float32
    assert network.vae.autoencoder.decoder.conv_in.weight.dtype == torch.bfloat16
    assert {p.dtype for p in network.backbone.parameters()} == {torch.bfloat16}
    result = model(image)
    assert result.dtype == torch.float32
    assert 0 < (result - expected).abs().max() < 0.1


def test_is_compiled_and_counted_by_the_parts_of_its_network():
    model = build()
    model.set_vae_slicing(True)
    assert model.network.vae.autoencoder.use_slicing
    blocks = model.compiled_blocks()
    assert len(blocks) == 2 + 4 + 1 + 4  # VAE, down blocks, neck, up blocks
    assert set(blocks) <= set(model.modules())
    parts = torch.nn.ModuleList(torch.nn.ModuleList(part) for part in model.cost_parts().values())
    assert {*parts.parameters()} == {*model.parameters()}
