"""The numbers of the released implementation, on the same weights and inputs."""

import numpy as np
import pytest
import torch
from conftest import DATA, DEVICE, golden_outputs, normal, relative_error, released_weights

from mmdiffdis.checkpoints.diffusers_names import UNET_NAMES, VAE_NAMES

# name, seed, images, side in pixels, U-Net in train mode
CASES = [('a', 1000, 1, 128, False), ('b', 2000, 2, 64, False), ('a_trainmode', 1000, 1, 128, True)]
LAST_STEP = 999


@pytest.fixture(params=CASES, ids=[case[0] for case in CASES])
def case(request, tiny):
    name, seed, images, side, training = request.param
    model = tiny()
    unet, vae, prompt = released_weights(seed)
    state = {'prompt': prompt, **UNET_NAMES.to_ours(unet), **VAE_NAMES.to_ours(vae)}
    model.load_state_dict(state)
    model.to(DEVICE).train(training)
    golden = np.load(DATA / f'diffdis_{name}.npz')
    return model, golden, seed, images, side


@torch.no_grad()
def test_latents_output_and_maps_equal_the_released(case):
    model, golden, seed, images, side = case
    results = golden_outputs(model, seed, images, side)
    for name, result in results.items():
        assert relative_error(result, golden[name]) < 1e-5, name
    image = torch.tanh(normal(seed + 3, (images, 3, side, side))).to(DEVICE)
    latents = model.encode_image(image)
    noise = normal(seed + 4, latents[0].shape).repeat(2, 1, 1, 1).to(DEVICE)
    assert torch.equal(torch.cat(model.denoise(noise, latents, [LAST_STEP])), results['x0'])


@torch.no_grad()
def test_losses_equal_the_released(case):
    model, golden, seed, size, side = case
    height = width = side
    image = torch.tanh(normal(seed + 3, (size, 3, side, side))).to(DEVICE)
    thresholds = (0.7, 1.2)  # of the masks, of the edges
    gt = [
        torch.where(normal(seed + 5 + i, (size, 1, height, width)) > threshold, 1.0, -1.0)
        for i, threshold in enumerate(thresholds)
    ]
    latents = model.encode_image(image)
    targets = model.vae.encode(torch.cat(gt).repeat(1, 3, 1, 1).to(DEVICE))
    noise = normal(seed + 7, targets.shape).to(DEVICE)
    noisy = model.scheduler.add_noise(targets, noise, LAST_STEP)
    names = ('mask', 'edge')
    losses = model.decode_head.loss(
        dict(zip(names, model.denoise(noisy, latents, [LAST_STEP]), strict=True)),
        dict(zip(names, targets.chunk(2), strict=True)),
    )
    for name in names:
        assert relative_error(losses[f'loss_{name}'], golden[f'loss_{name}']) < 1e-5
