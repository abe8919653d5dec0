"""tools/model_converters/diffdis_to_mmseg.py, with the weights of the golden numbers."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA, golden_outputs, load_tool, relative_error, released_weights, tiny_config
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stable_diffusion_folder import FAULTS, UNET, VAE, edit_json, edit_weights

from mmdiffdis.apis import DISInferencer
from mmdiffdis.checkpoints.loading import TRUST_VARIABLE

SEED = 2000  # of the golden numbers' case b

CONFIG = """
custom_imports = dict(imports=['mmdiffdis'])
default_scope = 'mmseg'
model = {model}
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=(64, 64)),
    dict(type='LoadDISAnnotations'),
    dict(type='PackDISInputs'),
]
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DIS5KDataset', data_root='set', subset='DIS-VD', pipeline=test_pipeline
    ),
)
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='DISMetric')
"""


@pytest.fixture
def released(stable_diffusion, tmp_path, monkeypatch) -> Path:
    """The released folder beside SD-Turbo's with the golden VAE, both in the current folder."""
    unet, vae, prompt = released_weights(SEED)
    folder = tmp_path / 'DiffDIS'
    (folder / 'unet').mkdir(parents=True)
    save_file(unet, folder / UNET)
    save_file({'prompt': prompt}, tmp_path / 'prompt.safetensors')
    save_file(vae, stable_diffusion / VAE)
    (tmp_path / 'tiny.py').write_text(CONFIG.format(model=tiny_config()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)
    return folder


@pytest.fixture
def convert(released, tmp_path):
    """Runs the tool and returns the path of its checkpoint."""
    tool = load_tool('model_converters/diffdis_to_mmseg.py')

    def run(*arguments, unet=released, base='sd-turbo', out='out.safetensors') -> Path:
        options = ['--unet', unet, '--base', base, '--out', out, '--config', 'tiny.py', *arguments]
        tool.main([str(option) for option in options])
        return Path(out)

    return run


def error_of(convert, *arguments, **files) -> str:
    """Returns the line with which the tool fails without writing a file."""
    with pytest.raises(SystemExit) as caught:
        convert(*arguments, **files)
    assert not list(Path().glob('*out*'))
    assert len(caught.value.code.splitlines()) == 1
    return caught.value.code


def repack(released, name='repacked.safetensors', prefix='', dtype=torch.float32, **others) -> Path:
    """Writes the U-Net and other tensors to one file."""
    weights = {f'{prefix}{n}': t.to(dtype) for n, t in load_file(released / UNET).items()}
    save_file({**weights, **others}, name)
    return Path(name)


def assert_golden(checkpoint: Path) -> None:
    """Asserts that the inferencer's model gives the released implementation's outputs."""
    model = DISInferencer('tiny.py', checkpoint, device='cpu').model
    golden = np.load(DATA / 'diffdis_b.npz')
    for name, result in golden_outputs(model, SEED, images=2, side=64).items():
        assert relative_error(result, golden[name]) < 1e-5, name


def test_released_folder_gives_the_released_numbers(convert, released):
    out = convert('--prompt-embedding', 'prompt.safetensors')
    with safe_open(out, 'pt') as file:
        metadata = file.metadata()
    assert json.loads(metadata['scheduler']) == dict(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, prediction_type='epsilon'
    )
    assert float(metadata['scaling_factor']) == 0.18215 and metadata['format'] == 'pt'
    sources = dict(unet='DiffDIS', base='sd-turbo', prompt='prompt.safetensors', config='tiny.py')
    assert json.loads(metadata['sources']) == sources
    for folder in (released, Path('sd-turbo')):
        folder.rename(f'{folder}-gone')  # not needed any more
    assert_golden(out)


def test_unet_may_be_the_inner_folder(convert, released):
    whole = load_file(convert('--prompt-embedding', 'prompt.safetensors'))
    inner = load_file(convert('--prompt-embedding', 'prompt.safetensors', unet=released / 'unet'))
    assert whole.keys() == inner.keys() and all(torch.equal(whole[n], inner[n]) for n in whole)


@pytest.mark.parametrize(('name', 'prefix'), [('positive', ''), ('text_embedding', 'unet.')])
def test_embedding_is_read_from_a_repacked_file(convert, released, name, prefix):
    prompt = released_weights(SEED)[2]
    file = repack(released, prefix=prefix, **{name: prompt[0] if prefix else prompt})
    for folder in ('text_encoder', 'tokenizer'):
        (Path('sd-turbo') / folder).rename(folder)
    out = convert(unet=file)
    assert torch.equal(load_file(out)['prompt'], prompt)
    if not prefix:
        assert_golden(out)


def test_missing_embedding_is_made_with_transformers(convert, released):
    from transformers import CLIPTextModel

    state = load_file(convert(unet=repack(released)))
    encoder = CLIPTextModel.from_pretrained('sd-turbo/text_encoder')
    expected = encoder(torch.tensor([[2, 3]]))[0]  # beginning and end of the text
    torch.testing.assert_close(state['prompt'], expected.detach())


def test_half_precision_source(convert, released):
    prompt = released_weights(SEED)[2].half()
    state = load_file(convert(unet=repack(released, dtype=torch.float16, positive=prompt)))
    assert state['backbone.conv_in.weight'].dtype == torch.float32
    assert state['backbone.swci.injectors.0.condition.1.num_batches_tracked'].dtype == torch.int64
    exact = released_weights(SEED)[0]['conv_in.weight']
    assert torch.equal(state['backbone.conv_in.weight'], exact.half().float())


def test_half_precision_target(convert):
    convert('--prompt-embedding', 'prompt.safetensors', out='whole.safetensors')
    out = convert('--prompt-embedding', 'prompt.safetensors', '--dtype', 'bfloat16')
    assert out.stat().st_size < 0.52 * Path('whole.safetensors').stat().st_size
    whole, half = load_file('whole.safetensors'), load_file(out)
    for name, tensor in whole.items():
        expected = tensor.bfloat16() if tensor.is_floating_point() else tensor
        assert torch.equal(half[name], expected), name


def test_test_py_scores_the_converted_weights(convert, write_set, tmp_path):
    out = convert('--prompt-embedding', 'prompt.safetensors')
    write_set(tmp_path / 'set', stems=('a',))
    load_tool('test.py').main(['tiny.py', str(out), '--work-dir', 'work', '--out', 'test.json'])
    assert 0 < json.loads(Path('test.json').read_text())['metrics']['MAE'] < 1


# --- what the tool refuses ---------------------------------------------------------------------


def test_misfits_are_named(convert, released):
    change, message, _ = FAULTS['extra']
    edit_weights(released / UNET, change)
    error = error_of(convert, '--prompt-embedding', 'prompt.safetensors')
    assert f'unet does not fit the model of the config: {message}' in error


def test_model_without_mutual_attention_is_refused(convert):
    message = error_of(convert, '--cfg-options', 'model.neck.interaction=None')
    assert re.search(r'7 unexpected: mid_block\.attentions.*(attn3|norm2_)', message)


def test_weight_with_a_name_like_a_prompts_is_refused(convert, released):
    file = repack(released, **{'context.weight': torch.zeros(3, 3)})
    assert 'repacked.safetensors, context.weight is [3, 3]' in error_of(convert, unet=file)


def test_prediction_type_must_be_the_configs_and_is_stored(convert, predict_v, tiny):
    message = error_of(convert, '--prompt-embedding', 'prompt.safetensors')
    assert "prediction_type='v_prediction' (the model: 'epsilon')" in message
    option = re.search(r'--cfg-options (model.scheduler.prediction_type=\w+)', message)[1]
    out = convert('--prompt-embedding', 'prompt.safetensors', '--cfg-options', option)
    # The checkpoint sets it, although the config has another.
    assert DISInferencer('tiny.py', out, device='cpu').model.scheduler.prediction_type == (
        'v_prediction'
    )


def test_betas_must_be_the_configs(convert):
    edit_json(Path('sd-turbo/scheduler/scheduler_config.json'), beta_start=0.001)
    message = error_of(convert)
    assert 'beta_start=0.001 (the model: 0.00085)' in message
    assert '--cfg-options model.scheduler.beta_start=0.001' in message


def test_scaling_factor_must_be_the_configs(convert):
    edit_json(Path('sd-turbo/vae/config.json'), scaling_factor=0.5)
    assert '--cfg-options model.vae.scaling_factor=0.5' in error_of(convert)


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        (dict(unet='nowhere'), 'checkpoint nowhere does not exist'),
        (dict(base='./nowhere'), './nowhere is not a folder; expected one with unet/, vae/,'),
        (dict(out='out.pth'), '--out out.pth: expected a file name that ends in .safetensors'),
    ],
)
def test_wrong_paths_are_named(convert, files, message):
    assert message in error_of(convert, **files)


def test_pickle_is_read_if_trusted_only(convert, released, monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, '0')  # undoes the tool's setting
    unet = load_file(released / UNET)
    torch.save({'state_dict': unet, 'args': argparse.Namespace(lr=1)}, 'unet.pth')
    arguments = ('--prompt-embedding', 'prompt.safetensors')
    assert 'argparse.Namespace' in error_of(convert, *arguments, unet='unet.pth')
    state = load_file(convert(*arguments, '--trust-checkpoint', unet='unet.pth'))
    assert torch.equal(state['backbone.conv_in.weight'], unet['conv_in.weight'])


def test_default_config_is_the_full_size_model(convert, released):
    tool = load_tool('model_converters/diffdis_to_mmseg.py')
    assert tool.parse_args(['--unet', 'a', '--base', 'b', '--out', 'c']).config == str(
        tool.FULL_SIZE
    )
    with pytest.raises(SystemExit, match=r'misshapen: .*got \[.*expected \[1280, 320\]'):
        tool.main(['--unet', str(released), '--base', 'sd-turbo', '--out', 'out.safetensors'])
    assert AutoencoderKL.from_pretrained('sd-turbo/vae').config.latent_channels == 4
