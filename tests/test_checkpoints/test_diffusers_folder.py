"""Folders in diffusers' layout: where they are, and which files of them are read."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from stable_diffusion_folder import UNET, edit_json, edit_weights
from torch import Tensor

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.checkpoints.diffusers_folder import (
    empty_prompt,
    local_folder,
    read_scheduler,
    read_weights,
)

OPTION = '--base'
STEM = 'diffusion_pytorch_model'


def assert_same(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.fixture
def sharded(stable_diffusion) -> tuple[Path, dict[str, Tensor]]:
    """The U-Net's folder in shards, and its weights."""
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion / 'unet')
    (stable_diffusion / UNET).unlink()
    unet.save_pretrained(stable_diffusion / 'unet', max_shard_size='4MB')
    return stable_diffusion / 'unet', unet.state_dict()


# --- weights ---------------------------------------------------------------------------------


def test_shards_are_read(sharded):
    folder, expected = sharded
    assert len(list(folder.glob('*-of-*'))) > 1
    assert_same(read_weights(folder), expected)


def test_incomplete_or_straying_shards_are_refused(sharded):
    folder, _ = sharded
    first = min(folder.glob('*-00001-of-*'))
    edit_weights(first, lambda weights: weights.popitem())
    with pytest.raises(CheckpointError, match='do not agree on 1 keys'):
        read_weights(folder)
    first.unlink()
    with pytest.raises(FileNotFoundError, match=first.name):
        read_weights(folder)
    index = folder / f'{STEM}.safetensors.index.json'
    index.write_text('{"weight_map": {"conv_in.weight": "../other.safetensors"}}')
    with pytest.raises(CheckpointError, match='names files in other folders'):
        read_weights(folder)


def test_safetensors_are_preferred_to_pickles_and_float32_to_float16(tmp_path):
    names = [f'{STEM}{end}' for end in ('.fp16.bin', '.bin', '.fp16.safetensors', '.safetensors')]
    for number, name in enumerate(names):
        weights = {'a': torch.tensor(float(number))}
        path = tmp_path / name
        save_file(weights, path) if path.suffix == '.safetensors' else torch.save(weights, path)
        assert read_weights(tmp_path)['a'] == number


def test_pickle_that_would_run_a_program_is_not_read(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'harm',))

    torch.save({'conv_in.weight': Harmful()}, tmp_path / f'{STEM}.bin')
    with pytest.raises(CheckpointError, match='could run any program'):
        read_weights(tmp_path)
    assert not (tmp_path / 'harm').exists()


def test_file_with_more_than_tensors_is_refused(tmp_path):
    torch.save({'conv_in.weight': 3}, tmp_path / 'unet.pth')
    with pytest.raises(CheckpointError, match=r"unet\.pth holds int for 'conv_in\.weight'"):
        read_weights(tmp_path / 'unet.pth')


def test_weights_of_a_training_checkpoint_are_read(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(2)}, 'meta': {}}, tmp_path / 'a.pth')
    assert_same(read_weights(tmp_path / 'a.pth'), {'a': torch.ones(2)})


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'no weights in {tmp_path}; expected {STEM}'):
        read_weights(tmp_path)


# --- scheduler and text encoder --------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(beta_schedule='linear'), "beta_schedule='linear'.*expected the scaled-linear betas"),
        (dict(rescale_betas_zero_snr=True), "'rescale_betas_zero_snr': True"),
        (dict(trained_betas=[0.1]), r"'trained_betas': \[0.1\]"),
        (dict(beta_end=None), "'beta_end': None"),
    ],
)
def test_betas_that_are_not_stable_diffusions_are_refused(stable_diffusion, changes, message):
    edit_json(stable_diffusion / 'scheduler' / 'scheduler_config.json', **changes)
    with pytest.raises(CheckpointError, match=message):
        read_scheduler(stable_diffusion)


def test_scheduler_that_is_older_than_prediction_types_predicts_epsilon(predict_v):
    assert read_scheduler(predict_v)['prediction_type'] == 'v_prediction'
    edit_json(predict_v / 'scheduler' / 'scheduler_config.json', prediction_type=None)
    assert read_scheduler(predict_v)['prediction_type'] == 'epsilon'


def test_damaged_json_is_named(stable_diffusion):
    (stable_diffusion / 'scheduler' / 'scheduler_config.json').write_text('{')
    with pytest.raises(CheckpointError, match=r'scheduler_config\.json is not JSON: Expecting'):
        read_scheduler(stable_diffusion)


def test_tokenizer_that_adds_no_beginning_and_end_is_refused(stable_diffusion, monkeypatch):
    from transformers import CLIPTokenizer

    encoding = type('Encoding', (), dict(input_ids=[2]))
    monkeypatch.setattr(CLIPTokenizer, '__call__', lambda self, text: encoding)
    with pytest.raises(CheckpointError, match=r'into the tokens \[2\], expected two'):
        empty_prompt(stable_diffusion)


# --- the hub ---------------------------------------------------------------------------------


def test_paths_are_never_asked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr('huggingface_hub.snapshot_download', lambda *_, **__: pytest.fail('asked'))
    for path in ('./pretrained/sd-turbo', '/no/where', '~/no-such-folder/x', 'sd-turbo', 'a/b/c'):
        with pytest.raises(FileNotFoundError, match='is not a folder; expected one with unet/'):
            local_folder(path, OPTION)


@pytest.mark.parametrize(('exists', 'problem'), [(True, 'is a single file'), (False, 'does not')])
def test_single_file_is_named_and_its_conversion(tmp_path, monkeypatch, exists, problem):
    monkeypatch.setattr('huggingface_hub.snapshot_download', lambda *_, **__: pytest.fail('asked'))
    monkeypatch.chdir(tmp_path)
    path = Path('weights/sd_turbo.safetensors')
    path.parent.mkdir()
    if exists:
        path.touch()
    with pytest.raises(FileNotFoundError, match=f'{path} {problem}.*from_single_file.*--base=weig'):
        local_folder(str(path), OPTION)


def test_hub_id_is_fetched_with_the_needed_files_only(stable_diffusion, monkeypatch):
    requests = {}

    def download(repo, allow_patterns):
        requests[repo] = allow_patterns
        return str(stable_diffusion)

    monkeypatch.setattr('huggingface_hub.snapshot_download', download)
    assert local_folder('owner/sd-turbo', OPTION) == stable_diffusion
    patterns = requests['owner/sd-turbo']
    files = [path for path in stable_diffusion.rglob('*') if path.is_file()]
    names = [str(path.relative_to(stable_diffusion)) for path in files]
    assert all(any(fnmatch(name, pattern) for pattern in patterns) for name in names), names
    for name in ('sd_turbo.safetensors', f'unet/{STEM}.fp16.safetensors'):
        assert not any(fnmatch(name, pattern) for pattern in patterns)


def test_hub_out_of_reach_asks_for_a_folder(monkeypatch):
    def download(*_, **__):
        raise ConnectionError('no route\nto host')

    monkeypatch.setattr('huggingface_hub.snapshot_download', download)
    message = r'owner/sd-turbo is not a folder, and could not .* \(no route\).*--base=FOLDER'
    with pytest.raises(FileNotFoundError, match=message):
        local_folder('owner/sd-turbo', OPTION)


def test_stored_weights_are_returned_as_written(stable_diffusion):
    assert_same(read_weights(stable_diffusion / 'unet'), load_file(stable_diffusion / UNET))
