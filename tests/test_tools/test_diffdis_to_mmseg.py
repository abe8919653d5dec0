"""tools/model_converters/diffdis_to_mmseg.py on the golden numbers' weights, in real layouts."""

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
    """The released folder, beside SD-Turbo's with the golden numbers' VAE; the current folder."""
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
    """Runs the tool; returns the path of what it wrote."""
    tool = load_tool('model_converters/diffdis_to_mmseg.py')

    def run(*arguments, unet=released, base='sd-turbo', out='out.safetensors') -> Path:
        options = ['--unet', unet, '--base', base, '--out', out, '--config', 'tiny.py', *arguments]
        tool.main([str(option) for option in options])
        return Path(out)

    return run


def error_of(convert, *arguments, **files) -> str:
    """The one line that the tool ends with, nothing being written."""
    with pytest.raises(SystemExit) as caught:
        convert(*arguments, **files)
    assert not list(Path().glob('*out*'))
    assert len(caught.value.code.splitlines()) == 1
    return caught.value.code


def repack(released, name='repacked.safetensors', prefix='', dtype=torch.float32, **others) -> Path:
    """The U-Net in one file, with other tensors beside it."""
    weights = {f'{prefix}{n}': t.to(dtype) for n, t in load_file(released / UNET).items()}
    save_file({**weights, **others}, name)
    return Path(name)


def assert_golden(checkpoint: Path, tolerance: float = 1e-5) -> None:
    """predict.py's model, with these weights, gives the released implementation's numbers."""
    model = DISInferencer('tiny.py', checkpoint, device='cpu').model
    golden = np.load(DATA / 'diffdis_b.npz')
    for name, result in golden_outputs(model, SEED, images=2, side=64).items():
        assert relative_error(result, golden[name]) < tolerance, name


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
        folder.rename(f'{folder}-gone')  # neither is needed any more
    assert_golden(out)


def test_unet_folder_itself_will_do(convert, released):
    whole = load_file(convert('--prompt-embedding', 'prompt.safetensors'))
    inner = load_file(convert('--prompt-embedding', 'prompt.safetensors', unet=released / 'unet'))
    assert whole.keys() == inner.keys() and all(torch.equal(whole[n], inner[n]) for n in whole)


@pytest.mark.parametrize('prefix', ['', 'unet.'])
@pytest.mark.parametrize('name', ['positive', 'text_embedding'])
def test_repacked_file_with_the_embedding(convert, released, name, prefix):
    prompt = released_weights(SEED)[2]
    file = repack(released, prefix=prefix, **{name: prompt[0] if prefix else prompt})
    for folder in ('text_encoder', 'tokenizer'):
        (Path('sd-turbo') / folder).rename(folder)
    out = convert(unet=file)
    assert torch.equal(load_file(out)['prompt'], prompt)
    if not prefix:
        assert_golden(out)


def test_without_the_embedding_transformers_makes_it(convert, released):
    from transformers import CLIPTextModel

    state = load_file(convert(unet=repack(released)))
    encoder = CLIPTextModel.from_pretrained('sd-turbo/text_encoder')
    expected = encoder(torch.tensor([[2, 3]]))[0]  # beginning and end of the text
    torch.testing.assert_close(state['prompt'], expected.detach())


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_precision_source(convert, released, dtype, tolerance):
    prompt = released_weights(SEED)[2].to(dtype)
    state = load_file(convert(unet=repack(released, dtype=dtype, positive=prompt)))
    assert state['backbone.conv_in.weight'].dtype == torch.float32
    assert state['backbone.swci.injectors.0.condition.1.num_batches_tracked'].dtype == torch.int64
    exact = released_weights(SEED)[0]['conv_in.weight']
    assert torch.equal(state['backbone.conv_in.weight'], exact.to(dtype).float())
    assert_golden(Path('out.safetensors'), tolerance)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_target(convert, dtype):
    convert('--prompt-embedding', 'prompt.safetensors', out='whole.safetensors')
    out = convert('--prompt-embedding', 'prompt.safetensors', '--dtype', dtype)
    assert out.stat().st_size < 0.52 * Path('whole.safetensors').stat().st_size
    whole, half = load_file('whole.safetensors'), load_file(out)
    for name, tensor in whole.items():
        expected = tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
        assert torch.equal(half[name], expected), name


def test_pickled_weights_are_read(convert, released):
    unet = load_file(released / UNET)
    (released / UNET).unlink()
    torch.save(unet, released / 'unet' / 'diffusion_pytorch_model.bin')
    assert_golden(convert('--prompt-embedding', 'prompt.safetensors'))


def test_test_py_scores_what_was_converted(convert, write_set, tmp_path):
    out = convert('--prompt-embedding', 'prompt.safetensors')
    write_set(tmp_path / 'set', stems=('a',))
    load_tool('test.py').main(['tiny.py', str(out), '--work-dir', 'work', '--out', 'test.json'])
    assert 0 < json.loads(Path('test.json').read_text())['metrics']['MAE'] < 1


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('part', ['unet', 'vae'])
def test_misfits_are_named(convert, released, part, fault):
    change, in_unet, in_vae = FAULTS[fault]
    edit_weights(released / UNET if part == 'unet' else Path('sd-turbo') / VAE, change)
    message = error_of(convert, '--prompt-embedding', 'prompt.safetensors')
    assert f'{part} does not fit the model of the config' in message
    assert (in_unet if part == 'unet' else in_vae) in message


def test_model_without_mutual_attention_does_not_take_it(convert):
    message = error_of(convert, '--cfg-options', 'model.neck.interaction=None')
    assert re.search(r'7 unexpected: mid_block\.attentions.*(attn3|norm2_)', message)


def test_unknown_weight_that_looks_like_a_prompt(convert, released):
    file = repack(released, **{'context.weight': torch.zeros(3, 3)})
    assert 'repacked.safetensors, context.weight is [3, 3]' in error_of(convert, unet=file)


def test_other_prediction_type_than_the_configs(convert, predict_v, tiny):
    message = error_of(convert, '--prompt-embedding', 'prompt.safetensors')
    assert "prediction_type='v_prediction' (the model: 'epsilon')" in message
    option = re.search(r'--cfg-options (model.scheduler.prediction_type=\w+)', message)[1]
    out = convert('--prompt-embedding', 'prompt.safetensors', '--cfg-options', option)
    # the file says it, so the model need not be told again
    assert DISInferencer('tiny.py', out, device='cpu').model.scheduler.prediction_type == (
        'v_prediction'
    )


def test_other_betas_than_the_configs(convert):
    edit_json(Path('sd-turbo/scheduler/scheduler_config.json'), beta_start=0.001)
    message = error_of(convert)
    assert 'beta_start=0.001 (the model: 0.00085)' in message
    assert '--cfg-options model.scheduler.beta_start=0.001' in message


def test_other_scaling_factor_than_the_configs(convert):
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
def test_wrong_paths(convert, files, message):
    assert message in error_of(convert, **files)


def test_pickle_that_would_run_a_program_is_refused(convert, released):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (Path('harm'),))

    torch.save({'conv_in.weight': Harmful()}, 'unet.pth')
    assert 'could run any program' in error_of(convert, unet='unet.pth')
    assert not Path('harm').exists()


def test_trusted_pickle_is_read(convert, released, monkeypatch):
    monkeypatch.setenv(TRUST_VARIABLE, '0')  # so that what the tool sets does not stay
    unet = load_file(released / UNET)
    torch.save({'state_dict': unet, 'args': argparse.Namespace(lr=1)}, 'unet.pth')
    arguments = ('--prompt-embedding', 'prompt.safetensors')
    assert 'argparse.Namespace' in error_of(convert, *arguments, unet='unet.pth')
    state = load_file(convert(*arguments, '--trust-checkpoint', unet='unet.pth'))
    assert torch.equal(state['backbone.conv_in.weight'], unet['conv_in.weight'])


def test_file_with_more_than_tensors(convert):
    torch.save({'conv_in.weight': 3}, 'unet.pth')
    assert "unet.pth holds int for 'conv_in.weight'" in error_of(convert, unet='unet.pth')


def test_default_config_is_the_papers(convert, released):
    """Whose model is far larger than these weights."""
    tool = load_tool('model_converters/diffdis_to_mmseg.py')
    assert tool.parse_args(['--unet', 'a', '--base', 'b', '--out', 'c']).config == str(
        tool.FULL_SIZE
    )
    with pytest.raises(SystemExit, match=r'misshapen: .*got \[.*expected \[1280, 320\]'):
        tool.main(['--unet', str(released), '--base', 'sd-turbo', '--out', 'out.safetensors'])
    assert AutoencoderKL.from_pretrained('sd-turbo/vae').config.latent_channels == 4
