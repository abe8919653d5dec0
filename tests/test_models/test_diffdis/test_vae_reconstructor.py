"""The autoencoder alone, as a segmentor."""

import pytest
import torch
from conftest import tiny_config
from mmengine.runner import load_checkpoint
from mmseg.registry import MODELS


def reconstructor():
    vae = tiny_config()['vae']
    return MODELS.build(dict(type='VAEReconstructor', vae=vae, size=(64, 64)))


def test_checkpoint_of_a_diffusion_model_fits(tiny, tmp_path):
    segmentor, model = tiny(), reconstructor()
    torch.save(dict(state_dict=segmentor.state_dict()), tmp_path / 'diffdis.pth')
    load_checkpoint(model, str(tmp_path / 'diffdis.pth'), map_location='cpu', strict=True)
    assert model.state_dict().keys() == {f'vae.{key}' for key in segmentor.vae.state_dict()}
    for key, tensor in segmentor.vae.state_dict().items():
        assert torch.equal(model.state_dict()[f'vae.{key}'], tensor)


@pytest.mark.parametrize('change', ['missing', 'extra'])
def test_an_autoencoder_that_does_not_fit_is_still_refused(tmp_path, change):
    model = reconstructor()
    weights = model.state_dict()
    key = 'vae.autoencoder.quant_conv.weight'
    weights |= {f'{key}_2': weights[key]}
    if change == 'missing':
        del weights[key], weights[f'{key}_2']
    torch.save(dict(state_dict=weights), tmp_path / 'vae.pth')
    with pytest.raises(RuntimeError, match=key):
        load_checkpoint(model, str(tmp_path / 'vae.pth'), map_location='cpu', strict=True)
