"""The schedule and its steps, against diffusers' schedulers and the formulas of the paper."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from mmengine.runner import load_state_dict

from mmdiffdis.models import OneStepScheduler

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')


def test_last_step_multiplies_errors_in_epsilon_by_fourteen():
    signal, sigma = OneStepScheduler().signal_and_noise(999)
    assert float(signal) == pytest.approx(0.0683, abs=5e-5)
    assert float(sigma / signal) == pytest.approx(14.6, abs=0.05)


@pytest.mark.parametrize('prediction_type', ['epsilon', 'v_prediction', 'sample'])
def test_clean_latent_equals_diffusers(prediction_type):
    ours = OneStepScheduler(prediction_type=prediction_type)
    theirs = DDPMScheduler(**BETAS, prediction_type=prediction_type, clip_sample=False)
    noisy, output = torch.randn(2, 3, 4, 8, 8)
    for step in (999, 499, 10):
        expected = theirs.step(output, step, noisy).pred_original_sample
        torch.testing.assert_close(ours.to_clean(noisy, output, step), expected)


def test_added_noise_equals_diffusers_for_one_step_each():
    clean, noise = torch.randn(2, 3, 4, 8, 8)
    steps = torch.tensor([999, 0, 321])
    expected = DDPMScheduler(**BETAS).add_noise(clean, noise, steps)
    torch.testing.assert_close(OneStepScheduler().add_noise(clean, noise, steps), expected)


@pytest.mark.parametrize('num_steps', [1, 2, 3, 10])
def test_timesteps_are_trailing(num_steps):
    theirs = DDIMScheduler(**BETAS, timestep_spacing='trailing')
    theirs.set_timesteps(num_steps)
    assert OneStepScheduler().timesteps(num_steps) == theirs.timesteps.tolist()


def test_the_papers_timesteps():
    assert OneStepScheduler().timesteps(1) == [999]
    assert OneStepScheduler().timesteps(2) == [999, 499]


def test_step_equals_diffusers_ddim():
    ours = OneStepScheduler()
    theirs = DDIMScheduler(**BETAS, timestep_spacing='trailing', clip_sample=False)
    theirs.set_timesteps(2)
    noisy, output = torch.randn(2, 1, 4, 8, 8)
    expected = theirs.step(output, 999, noisy).prev_sample
    clean = ours.to_clean(noisy, output, 999)
    torch.testing.assert_close(ours.step(noisy, clean, 999, 499), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_arithmetic_is_float32_whatever_comes_in(dtype):
    noisy, output = torch.randn(2, 1, 4, 8, 8).to(dtype)
    clean = OneStepScheduler().to_clean(noisy, output, 999)
    assert clean.dtype == torch.float32
    expected = OneStepScheduler().double().to_clean(noisy, output, 999)
    torch.testing.assert_close(clean, expected.float(), rtol=1e-4, atol=1e-4)


def test_zero_terminal_snr_ends_in_pure_noise_as_diffusers_does():
    theirs = DDIMScheduler(**BETAS, rescale_betas_zero_snr=True)
    ours = OneStepScheduler(prediction_type='v_prediction', zero_terminal_snr=True)
    torch.testing.assert_close(
        ours.signal[:-1] ** 2, theirs.alphas_cumprod[:-1], rtol=1e-5, atol=1e-6
    )
    clean, noise, output = torch.randn(3, 2, 4, 8, 8)
    torch.testing.assert_close(ours.add_noise(clean, noise, 999), noise, rtol=0, atol=1e-3)
    assert not torch.allclose(OneStepScheduler().add_noise(clean, noise, 999), noise, atol=1e-2)
    # Of pure noise, v is the clean latent's negative.
    torch.testing.assert_close(ours.to_clean(noise, output, 999), -output, rtol=0, atol=1e-3)
    assert ours.step(noise, clean, 999, 499).isfinite().all()


def test_epsilon_of_pure_noise_is_refused():
    message = "prediction_type='epsilon' with zero_terminal_snr=True.*use 'v_prediction'"
    with pytest.raises(ValueError, match=message):
        OneStepScheduler(zero_terminal_snr=True)
    scheduler = OneStepScheduler(prediction_type='sample', zero_terminal_snr=True)
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict(OneStepScheduler().state_dict())


@pytest.mark.parametrize('timesteps', ['unifrom', 999, [], [1000], [-1], [0.5], 'u'])
def test_training_timesteps_are_checked(timesteps):
    message = "expected None, 'uniform' or a list of numbers from 0 to 999"
    with pytest.raises(ValueError, match=message):
        OneStepScheduler().check_training(timesteps, 1)


def test_drawn_timestep_is_denoised_in_one_step():
    for timesteps in ([999, 499], 'uniform'):
        OneStepScheduler().check_training(timesteps, 1)
        with pytest.raises(ValueError, match='denoised in one step; expected num_steps=1, or'):
            OneStepScheduler().check_training(timesteps, 2)
    OneStepScheduler().check_training(None, 2)
    with pytest.raises(ValueError, match='num_steps=1.5: expected a number from 1'):
        OneStepScheduler().check_training(None, 1.5)


def test_errors_say_what_is_possible():
    with pytest.raises(ValueError, match="prediction_type='eps': expected one of .*epsilon"):
        OneStepScheduler(prediction_type='eps')
    for num_steps in (0, 1001):
        with pytest.raises(ValueError, match=f'num_steps={num_steps}: expected .* 1 to 1000'):
            OneStepScheduler().timesteps(num_steps)


@pytest.mark.parametrize('load', ['torch', 'mmengine'])
def test_checkpoint_says_what_its_weights_predict(load):
    def read(scheduler, state):
        if load == 'torch':
            scheduler.load_state_dict(state)
        else:
            load_state_dict(scheduler, state, strict=True)

    scheduler = OneStepScheduler()
    read(scheduler, OneStepScheduler(prediction_type='v_prediction').state_dict())
    assert scheduler.prediction_type == 'v_prediction'
    read(scheduler, {})  # weights that do not say
    assert scheduler.prediction_type == 'v_prediction'
    state = OneStepScheduler(prediction_type='sample').state_dict()
    assert {*state} == {'prediction', 'settings'} and state['prediction'] == 2
