"""Settings stored with weights: a config that disagrees is refused."""

import pytest
import torch
from conftest import tiny_config
from mmengine.runner import load_checkpoint, load_state_dict
from mmseg.registry import MODELS

from mmdiffdis.checkpoints import (
    CheckpointError,
    explain_misfits,
    load_from_local,
    save_weights,
)

NORMALISATION = dict(
    type='SegDataPreProcessor', mean=[127.5] * 3, std=[255.0] * 3, bgr_to_rgb=True, size_divisor=1
)
V = dict(prediction_type='v_prediction')


def diffdis(**changes):
    return MODELS.build(tiny_config(scheduler=V, **changes))


def u2net(**normalisation):
    return MODELS.build(
        dict(type='U2Net', width=4, data_preprocessor={**NORMALISATION, **normalisation})
    )


CASES = {
    'zero terminal SNR': (
        lambda: MODELS.build(tiny_config(scheduler=dict(**V, zero_terminal_snr=True))),
        diffdis,
        'scheduler.zero_terminal_snr=1, but the config has zero_terminal_snr=0: --cfg-options '
        'model.scheduler.zero_terminal_snr=True',
    ),
    'betas': (
        lambda: MODELS.build(tiny_config(scheduler=dict(**V, beta_end=0.02))),
        diffdis,
        'model.scheduler.beta_end=0.02',
    ),
    'scale of latents': (
        lambda: diffdis(vae=dict(scaling_factor=1.26)),
        diffdis,
        'model.vae.scaling_factor=1.26',
    ),
    'order of colours': (
        lambda: diffdis(data_preprocessor=dict(bgr_to_rgb=False)),
        diffdis,
        'model.data_preprocessor.bgr_to_rgb=False',
    ),
    'normalisation': (lambda: u2net(mean=[0.0] * 3), u2net, r'model.data_preprocessor.mean.0=0'),
}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_weights_of_other_settings_are_refused_with_the_option(case, dtype, tmp_path):
    trained, model, message = CASES[case]
    path = str(save_weights(trained(), tmp_path / 'a.safetensors', dtype))
    message = message if dtype is None else 'the checkpoint was trained with '
    with pytest.raises(CheckpointError, match=message), explain_misfits(path):
        load_checkpoint(model(), path, strict=True)
    load_checkpoint(trained(), path, strict=True)
    with pytest.raises(RuntimeError, match=message):  # of torch, also without `strict`
        model().load_state_dict(load_from_local(path)['state_dict'], strict=False)


def test_model_that_takes_a_part_of_a_checkpoint_keeps_its_own_settings(tmp_path):
    path = save_weights(diffdis(vae=dict(scaling_factor=1.26)), tmp_path / 'a.safetensors')
    model = diffdis()
    load_checkpoint(model, str(path), strict=False)
    assert model.state_dict()['vae.settings'].tolist() == pytest.approx([0.18215, 8])


@pytest.mark.parametrize('build', [diffdis, u2net])
def test_older_weights_without_settings_load(build):
    weights = build().state_dict()
    older = {name: tensor for name, tensor in weights.items() if not name.endswith('settings')}
    assert len(older) < len(weights)
    build().load_state_dict(older)
    load_state_dict(build(), older, strict=True)


def test_model_inside_of_a_model_has_no_normalisation():
    """IS-Net's encoder of masks loads the checkpoint of its own training."""
    inner = dict(type='ISNetGTEncoder', width=8)
    trained = MODELS.build(dict(inner, data_preprocessor=NORMALISATION))
    assert 'settings' in trained.state_dict()
    MODELS.build(inner).load_state_dict(trained.state_dict())


def test_model_without_content_keeps_its_settings():
    with torch.device('meta'):
        model = diffdis()
    assert not model.scheduler.settings.is_meta and not model.vae.settings.is_meta
