"""FP-DIS: each formula against an independent one, as there is no released code to compare with."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from torch.nn import functional as F

from mmdiffdis.models.baselines.fpdis.network import (
    FeatureHarmonization,
    FrequencyPriorEmbedding,
    FrequencyPriorGenerator,
    band_filters,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@torch.no_grad()
def test_bands_are_a_sixteenth_a_sixteenth_and_the_rest_of_the_spectrum():
    low, middle, high = bands = band_filters(300, 400, torch.device('cpu'))
    assert bands.sum(0).eq(1).all()
    for band, share in ((low, 1 / 16), (middle, 1 / 16), (high, 7 / 8)):
        assert band.mean().item() == pytest.approx(share, abs=2e-3)
    assert low[0, 0] and middle[0, 160] and high[150, 1] and high[-1, -1]


@torch.no_grad()
@pytest.mark.parametrize('autocast', [False, True])
def test_priors_are_filtered_cosine_transforms_of_the_image(autocast):
    generator, images = FrequencyPriorGenerator(4), torch.randn(2, 3, 12, 15) + 10
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        priors = generator(images)
    learnt = F.interpolate(generator.learnt[None], (12, 15), mode='bilinear')[0].double().numpy()
    squashed = (1 - np.exp(-learnt)) / (1 + np.exp(-learnt))
    filters = band_filters(12, 15, images.device).numpy() + squashed
    for image, result in zip(images.numpy(), priors.unflatten(1, (3, 3)).numpy(), strict=True):
        for band, channel in np.ndindex(3, 3):
            spectrum = dctn(image[channel], norm='ortho') * filters[band]
            expected = idctn(spectrum, norm='ortho')
            np.testing.assert_allclose(result[band, channel], expected, atol=1e-4)


@torch.no_grad()
def test_without_learnt_filters_the_priors_of_all_bands_add_up_to_the_image():
    generator, images = FrequencyPriorGenerator(4), torch.randn(1, 3, 256, 200)
    generator.learnt.zero_()
    bands = generator(images).unflatten(1, (3, 3))
    torch.testing.assert_close(bands.sum(1), images, atol=1e-4, rtol=0)


@torch.no_grad()
def test_gates_of_each_group_see_its_channels_of_both_levels():
    harmonize = FeatureHarmonization(channels=6, groups=2)
    harmonize.fuse = torch.nn.Identity()
    fine, coarse = torch.randn(2, 6, 5, 7), torch.randn(2, 6, 3, 4)
    resized = F.interpolate(coarse, (5, 7), mode='bilinear')
    weight, bias = harmonize.gate.weight, harmonize.gate.bias
    parts = []
    for group in (slice(0, 3), slice(3, 6)):
        x, y = fine[:, group], resized[:, group]
        gate = F.conv2d(x, weight[group, 0::2], bias[group], padding=1)
        gate = 1 / (1 + (-gate - F.conv2d(y, weight[group, 1::2], padding=1)).exp())
        parts.append(y + gate * (x - y))
    torch.testing.assert_close(harmonize(fine, coarse), torch.cat(parts, dim=1))


@torch.no_grad()
def test_priors_scale_and_shift_a_level():
    embed, level = FrequencyPriorEmbedding(4), torch.randn(2, 4, 6, 8)
    priors = torch.randn(2, 4, 18, 16)
    means = priors.unflatten(3, (8, 2)).mean(4).unflatten(2, (6, 3)).mean(3)
    weights, biases = embed.modulation.weight, embed.modulation.bias
    scale, shift = (
        F.conv2d(means, weights[part], biases[part], padding=1)
        for part in (slice(0, 4), slice(4, 8))
    )
    torch.testing.assert_close(embed(level, priors), level + scale * level + shift)
