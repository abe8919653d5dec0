"""GenPercept: the numbers of the released implementation, and its published checkpoint."""

import re
from shutil import rmtree

import pytest
import torch
from conftest import draw_samples, load_keys, normal, tiny_config, weights_by_name
from diffusers import UNet2DConditionModel
from golden_baselines import golden_weights, load_golden
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from safetensors.torch import load_file
from stable_diffusion_folder import UNET, VAE, edit_weights

from mmdiffdis.checkpoints import CheckpointError

TOKENS = 77  # of the first release's prompt


@pytest.fixture
def build():
    def build(**changes):
        torch.manual_seed(0)
        of_diffdis = tiny_config()
        backbone = {**of_diffdis['backbone'], 'bde': None, 'swci': None}
        neck = dict(of_diffdis['neck'], interaction=None)
        config = dict(type='GenPercept', backbone=backbone, neck=neck, vae=of_diffdis['vae'])
        return MODELS.build({**config, **changes})

    return build


@pytest.fixture(scope='module')
def golden():
    return load_golden('genpercept_tiny')


@pytest.fixture
def published(golden):
    """The golden numbers' weights under their published names."""
    seed = golden.meta['seed']
    unet = golden_weights('genpercept_tiny_unet', seed, golden.meta['rules'])
    vae = weights_by_name(load_keys('diffdis_vae_keys.json'), seed + 1)
    vae['decoder.conv_out.weight'] *= 0.5
    weights = {f'unet.{name}': tensor for name, tensor in unet.items()}
    weights |= {f'vae.{name}': tensor for name, tensor in vae.items()}
    return weights | {'prompt': normal(seed + 2, (1, TOKENS, 48))}


@pytest.fixture
def image(golden):
    return torch.tanh(normal(golden.meta['seed'] + 3, golden.meta['inputs']['x']))


@torch.no_grad()
def test_maps_equal_the_released(build, golden, published, image):
    second = build(prompt_tokens=TOKENS).eval()
    first = build(prompt_tokens=TOKENS, clip_channels=True).eval()
    for model in (first, second):
        model.load_state_dict(dict(published))
    network, step = second.network, torch.tensor([1])
    latent = network.vae.encode(image)
    decoded = network(image, step)
    results = dict(
        rgb_latent=latent,
        unet_out=network.unet(latent[:, :0], [latent], step)[0],
        decoded=decoded,
        v1_seg=decoded.clamp(-1, 1),
        v1_depth=decoded.mean(1, keepdim=True).clamp(-1, 1),
        prob=first(image),
        v2_dis=second(image),
    )
    for name, result in results.items():
        assert golden.error(name, result) < 5e-5, name
    assert (results['prob'] - results['v2_dis']).abs().max() > 0.01


@pytest.mark.parametrize('loss', ['v2_pixel_mse', 'v2_pixel_mse_t1'])
def test_losses_and_gradients_equal_the_released(build, golden, published, image, loss):
    steps = [1] if loss.endswith('t1') else golden.meta['train_timesteps']
    model = build(prompt_tokens=TOKENS, train_timesteps=steps).train()
    model.load_state_dict(dict(published))
    mask = (normal(golden.meta['seed'] + 4, (1, *image.shape[2:])) > 0.3).float()
    sample = SegDataSample(gt_alpha=PixelData(data=mask))
    losses = model.loss(image, [sample])
    assert losses['loss_mask'].item() == pytest.approx(golden.raw[f'loss.{loss}'].item(), rel=1e-5)
    if loss.endswith('t1'):  # whose gradients are not among the golden numbers
        return
    losses['loss_mask'].backward()
    parameters = dict(
        zip(model.to_published(), model.state_dict(keep_vars=True).values(), strict=True)
    )
    for name, (norm, total) in golden.gradients(loss).items():
        gradient = parameters[f'unet.{name}'].grad
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-3), name
        assert gradient.sum().item() == pytest.approx(total, abs=1e-3 * norm), name


def test_published_names_are_those_of_the_released_unet_and_vae(build, published):
    model = build(prompt_tokens=TOKENS)
    assert {n: t.shape for n, t in model.to_published().items()} == {
        n: t.shape for n, t in published.items()
    }


def test_training_draws_a_timestep_per_image_and_inference_takes_the_first(build, monkeypatch):
    model = build()
    taken = []
    network = model.network.forward
    monkeypatch.setattr(
        model.network, 'forward', lambda x, steps: taken.append(steps) or network(x, steps)
    )
    images = torch.zeros(4, 3, 64, 64)
    with torch.no_grad():
        model.train().loss(images, draw_samples(4, 64))
        model.eval()(images)
    assert len(taken[0].unique()) > 1 and taken[0].max() > 9
    assert taken[1] == 1


@torch.no_grad()
def test_latents_of_any_size_go_through_the_unet_as_in_diffusers(build, stable_diffusion):
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
def test_what_the_vae_cannot_divide_is_padded_and_cut_off_again(build):
    model = build().eval()
    image = torch.rand(1, 3, 61, 70) * 2 - 1
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 3, -1)], dim=2)
    padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, 2)], dim=3)
    torch.testing.assert_close(model(image), model(padded)[..., :61, :70])


def test_training_starts_from_stable_diffusion(build, stable_diffusion):
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
def test_overflow_is_no_mask(build):
    model = build(clip_channels=True).eval()
    assert model.probability(torch.full((1, 3, 8, 8), torch.inf)).isnan().all()
