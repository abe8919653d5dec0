"""Training noise by its statistics, inference noise by its promises."""

import numpy as np
import torch

from mmdiffdis.models import GaussianNoise, PyramidNoise, per_image_noise


def neighbour_correlation(noise: torch.Tensor, distance: int) -> float:
    a, b = noise[..., :-distance].flatten(), noise[..., distance:].flatten()
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def test_pyramid_noise_has_unit_deviation_and_correlated_neighbours():
    torch.manual_seed(0)
    like = torch.empty(4, 4, 64, 64)
    noise = PyramidNoise()(like)
    assert noise.shape == like.shape
    assert abs(float(noise.std()) - 1) < 1e-5
    assert neighbour_correlation(noise, 1) > 0.15
    white = GaussianNoise()(like)
    assert abs(neighbour_correlation(white, 1)) < 0.02


def test_first_level_of_the_pyramid_is_white_and_normal():
    # Level 0 is of full size (ratio^0): added to white noise, it leaves it white.
    torch.manual_seed(0)
    noise = PyramidNoise(num_levels=1)(torch.empty(8, 4, 64, 64))
    assert abs(neighbour_correlation(noise, 1)) < 0.02
    kurtosis = float((noise**4).mean())
    assert abs(kurtosis - 3) < 0.1


def test_pyramid_ends_at_one_pixel():
    torch.manual_seed(0)
    noise = PyramidNoise()(torch.empty(1, 4, 1, 3))
    assert noise.isfinite().all()


def test_masks_and_edges_get_noise_of_their_own():
    noise = PyramidNoise()
    like = torch.empty(2, 4, 8, 8)
    assert not torch.equal(noise(like), noise(like))


def test_per_image_noise_depends_on_name_and_seed_alone():
    shape = (4, 8, 8)
    together = per_image_noise(['a', 'b#1', 'ü'], shape, seed=3)
    for i, name in enumerate(['a', 'b#1', 'ü']):
        assert torch.equal(per_image_noise([name], shape, seed=3)[0], together[i])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(per_image_noise(['a'], shape, seed=4)[0], together[0])


def test_per_image_noise_never_changes():
    # A golden number: the same on every machine, numpy and torch.
    noise = per_image_noise(['1#Bag#2'], (4, 2, 2), seed=0)
    np.testing.assert_allclose(noise.flatten()[:3].numpy(), GOLDEN, rtol=0, atol=1e-6)


GOLDEN = [-0.4645671, -0.5777851, 0.5938963]


def test_per_image_noise_is_standard_normal():
    noise = per_image_noise([str(i) for i in range(64)], (4, 32, 32), seed=0)
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
