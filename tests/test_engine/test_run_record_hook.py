"""The record of a training: in its work dir, in its checkpoints, and compared on resuming."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from small_training import STEMS, build_runner, small_config

from mmdiffdis.datasets import DIS5KDataset, LatentDataset
from mmdiffdis.engine.run_record_hook import fingerprint, git_state
from mmdiffdis.version import __version__


@pytest.fixture
def folder(tmp_path, write_set) -> Path:
    write_set(tmp_path / 'set', 'DIS-TR', stems=STEMS)
    return tmp_path


def test_record_is_in_the_work_dir_and_in_the_checkpoints(folder):
    build_runner(small_config(folder, **{'train_cfg.max_iters': 2})).train()
    record = json.loads((folder / 'run' / 'run.json').read_text())
    assert record['seed'] == 0 and record['processes'] == 1
    assert record['versions']['mmdiffdis'] == __version__ and 'torch' in record['versions']
    assert record['protocol']['DISMetric']['protocol'] == 'soft'
    assert record['data']['train'] == record['data']['val']
    assert record['data']['train']['files'] == 10
    assert "type='SeededSampler'" in record['config'] and 'resumed_at_iteration' not in record
    meta = CheckpointLoader.load_checkpoint(str(folder / 'run' / 'iter_2.pth'))['meta']
    assert meta['cfg'] == record.pop('config') and meta['run'] == record


@pytest.mark.slow
def test_resumed_training_warns_of_changed_data_and_config(folder):
    build_runner(small_config(folder, **{'train_cfg.max_iters': 2})).train()
    (log,) = folder.glob('run/*/*.log')
    assert 'of the checkpoint' not in log.read_text()
    log.unlink()
    (folder / 'set' / 'DIS-TR' / 'im' / 'a.jpg').write_bytes(
        (folder / 'set' / 'DIS-TR' / 'im' / 'b.jpg').read_bytes()
    )
    config = small_config(folder, **{'train_cfg.max_iters': 4, 'resume': True})
    config.experiment_name = 'again'
    build_runner(config).train()
    (log,) = folder.glob('run/*/*.log')
    assert 'the train data differ from those of the checkpoint' in log.read_text()
    assert 'the config differs from that of the checkpoint in' in log.read_text()
    assert json.loads((folder / 'run' / 'run.json').read_text())['resumed_at_iteration'] == 2


def test_fingerprint_depends_on_the_contents_alone(folder, tmp_path_factory, write_set):
    def fingerprint_in(root: Path) -> dict:
        return fingerprint(DIS5KDataset(str(root / 'set'), 'DIS-TR'))

    elsewhere = tmp_path_factory.mktemp('elsewhere')
    write_set(elsewhere / 'set', 'DIS-TR', stems=STEMS)
    first = fingerprint_in(folder)
    assert fingerprint_in(elsewhere) == first and len(first['hash']) == 32
    path = elsewhere / 'set' / 'DIS-TR' / 'im' / 'c.jpg'
    contents = bytearray(path.read_bytes())
    contents[-3] ^= 1  # the size stays the same
    path.write_bytes(contents)
    assert fingerprint_in(elsewhere)['hash'] != first['hash']
    for part in ('im/e.jpg', 'gt/e.png'):
        (folder / 'set' / 'DIS-TR' / part).unlink()
    assert fingerprint_in(folder)['files'] == 8


def test_fingerprint_of_wrapped_and_other_data_sets(folder):
    dataset = DIS5KDataset(str(folder / 'set'), 'DIS-TR')
    assert fingerprint(ConcatDataset([dataset, dataset]))['files'] == 20
    latents = dict(image_0=torch.zeros(2, 4, 1, 1), mask=torch.zeros(2, 4, 1, 1))
    save_file(latents, folder / 'latents.safetensors')
    assert fingerprint(LatentDataset(str(folder / 'latents.safetensors')))['files'] == 1
    assert fingerprint(torch.utils.data.TensorDataset(torch.zeros(2))) is None


def test_git_state_names_commit_and_changed_files(tmp_path):
    assert git_state(tmp_path) is None

    def git(*arguments):
        identity = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        subprocess.run(
            ['git', *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git('init')
    (tmp_path / 'a.py').write_text('1')
    git('add', 'a.py')
    git('commit', '-m', 'a')
    state = git_state(tmp_path)
    assert len(state['commit']) == 40 and state['changed'] == []
    (tmp_path / 'a.py').write_text('2')
    assert git_state(tmp_path) == dict(commit=state['commit'], changed=['a.py'])
