"""Interrupted and resumed trainings end with the same weights as uninterrupted ones."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from mmseg.registry import HOOKS
from small_training import STEMS, build_runner, small_config

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.engine import RandomStreamsHook, WholeCheckpointHook
from mmdiffdis.engine.whole_checkpoint_hook import WholeFilesBackend

ROOT = Path(__file__).resolve().parents[2]
LAST = {False: 'iter_8.pth', True: 'epoch_3.pth'}


@HOOKS.register_module(force=True)
class InterruptHook(Hook):
    """Interrupts a training in the middle of a step."""

    def __init__(self, iteration: int):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path, write_set) -> Path:
    write_set(tmp_path / 'set', 'DIS-TR', stems=STEMS)
    return tmp_path


def load(path: Path | str) -> dict:
    return CheckpointLoader.load_checkpoint(str(path), 'cpu')


def assert_same_training(first: Path, second: Path) -> None:
    """Asserts bit-equal weights, moving averages if any, optimizer moments and schedules."""
    first, second = load(first), load(second)
    assert first.keys() == second.keys()
    for part in {'state_dict', 'ema_state_dict', 'optimizer'} & first.keys():
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
    assert first['param_schedulers'] == second['param_schedulers']
    assert first['meta']['iter'] == second['meta']['iter']
    if 'ema_state_dict' not in first:
        return
    # the weights differ from their averages
    weight = next(name for name in first['state_dict'] if name.startswith('backbone.'))
    assert not torch.equal(first['state_dict'][weight], first['ema_state_dict'][f'module.{weight}'])


@pytest.mark.slow
@pytest.mark.parametrize(
    ('by_epoch', 'workers', 'iteration'),
    [
        (False, 1, 5),
        (False, 0, 5),
        (True, 1, 3),
    ],
)
def test_resumed_training_ends_bit_equal(folder, by_epoch, workers, iteration):
    build_runner(small_config(folder, by_epoch, workers)).train()
    interrupted = small_config(folder, by_epoch, workers, work_dir=str(folder / 'interrupted'))
    with_interrupt = Config(dict(interrupted))
    with_interrupt.custom_hooks = [
        *interrupted.custom_hooks,
        dict(type='InterruptHook', iteration=iteration),
    ]
    with pytest.raises(KeyboardInterrupt):
        build_runner(with_interrupt).train()
    interrupted.resume = True
    runner = build_runner(interrupted)
    torch.manual_seed(1)  # earlier random numbers must not matter
    runner.train()
    assert_same_training(folder / 'run' / LAST[by_epoch], folder / 'interrupted' / LAST[by_epoch])


@pytest.mark.slow
def test_resumed_training_under_a_strategy_ends_bit_equal(folder):
    """MMEngine's runner of strategies misses a step after a checkpoint with a validation."""
    changes = {
        'runner_type': 'FlexibleRunner',
        'strategy': dict(type='SingleDeviceStrategy'),
        'env_cfg': {},
        'custom_hooks': [],
        'train_cfg': dict(val_begin=1, val_interval=2),
        'default_hooks.checkpoint': dict(save_best='maxF', rule='greater', max_keep_ckpts=-1),
    }
    build_runner(small_config(folder, **changes)).train()
    again = small_config(folder, work_dir=str(folder / 'again'), **changes)
    again.load_from, again.resume = str(folder / 'run' / 'iter_2.pth'), True
    assert load(again.load_from)['meta']['iter'] == 2
    build_runner(again).train()
    assert_same_training(folder / 'run' / 'iter_8.pth', folder / 'again' / 'iter_8.pth')


@pytest.mark.slow
def test_killed_training_ends_bit_equal(folder, monkeypatch):
    """SIGKILL at a random moment, through the command line."""
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    config = small_config(folder, workers=1, **{'train_cfg.max_iters': 10})
    config.default_hooks.checkpoint.interval = 1
    config.dump(folder / 'small.py')
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools' / 'train.py', folder / 'small.py']
    command += ['--work-dir', folder / 'killed']
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    process = subprocess.Popen(command, **quiet)
    deadline = time.monotonic() + 300
    while not (folder / 'killed' / 'iter_2.pth').exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / 'killed' / 'iter_10.pth').exists()

    subprocess.run([*command, '--resume'], check=True, **quiet)
    build_runner(config).train()
    assert_same_training(folder / 'run' / 'iter_10.pth', folder / 'killed' / 'iter_10.pth')
    assert not list((folder / 'killed').glob('.*.pth'))
    # the history of the log has every iteration, before and after the kill
    history = load(folder / 'killed' / 'iter_10.pth')['message_hub']['log_scalars']
    assert len(history['train/loss'].data[0]) == 10


@pytest.mark.parametrize('by_epoch', [False, True])
def test_sampler_is_endless_in_loops_of_iterations_alone(folder, by_epoch):
    """Whatever the config says: the opposite would end a loop's samples, or never end an epoch."""
    config = small_config(folder, by_epoch, **{'train_dataloader.sampler.endless': by_epoch})
    runner = build_runner(config)
    runner.train_loop  # noqa: B018, builds it
    RandomStreamsHook().before_train(runner)
    assert runner.train_dataloader.sampler.endless is not by_epoch


# --- checkpoints


@pytest.mark.slow
def test_full_disk_leaves_the_checkpoints_before(folder, monkeypatch):
    """Even if only one is kept: the old one is removed after the new one is written."""
    whole = []

    def fsync(descriptor):
        if whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole.append(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    config = small_config(folder, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    with pytest.raises(CheckpointError, match=r'iter_4\.pth \(\d+ bytes\) was not written: No spa'):
        build_runner(config).train()
    assert [path.name for path in folder.glob('run/*.pth')] == ['iter_2.pth']
    assert load(folder / 'run' / 'iter_2.pth')['meta']['iter'] == 2


@pytest.mark.slow
def test_only_the_last_checkpoints_are_kept(folder):
    (folder / 'run').mkdir()
    (folder / 'run' / 'mine.pth').write_bytes(b'something else')
    build_runner(small_config(folder)).train()
    names = sorted(path.name for path in folder.glob('run/*.pth'))
    assert names == ['iter_6.pth', 'iter_8.pth', 'mine.pth']


@pytest.mark.slow
def test_best_checkpoint_replaces_the_one_before(folder):
    config = small_config(folder)
    config.default_hooks.checkpoint.update(save_best='MAE', rule='less')
    config.train_cfg.update(val_begin=1, val_interval=2)
    runner = build_runner(config)
    scores = iter((0.5, 0.4, 0.6, 0.3))
    runner.val_loop.evaluator.evaluate = lambda size: {'MAE': next(scores)}
    runner.train()
    names = sorted(path.name for path in folder.glob('run/*.pth'))
    assert names == ['best_MAE_iter_8.pth', 'iter_6.pth', 'iter_8.pth']


def test_validation_without_training_writes_no_checkpoint(folder):
    assert 'maxF' in build_runner(small_config(folder)).val()
    assert not list(folder.glob('run/*.pth'))


def test_files_are_written_atomically(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'a.pth'
    WholeFilesBackend().put(b'first', path)
    monkeypatch.setattr(os, 'replace', lambda *paths: 1 / 0)  # killed before the last step
    with pytest.raises(ZeroDivisionError):
        WholeFilesBackend().put(b'second', path)
    assert [*path.parent.iterdir()] == [path] and path.read_bytes() == b'first'


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='no limits on the size of files')
def test_quota_is_a_clear_message(tmp_path):
    code = (
        # the import comes first, because torch may write files then
        'from mmdiffdis.engine.whole_checkpoint_hook import WholeFilesBackend as Backend;'
        'import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));'
        f'Backend().put(bytes(2000), {str(tmp_path / "a.pth")!r})'
    )
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert 'a.pth (2000 bytes) was not written: File too large' in result.stderr
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_accumulation_across_checkpoints_warns(folder):
    config = small_config(folder, **{'optim_wrapper.accumulative_counts': 3})
    runner = build_runner(config)
    runner.train()
    (log,) = folder.glob('run/*/*.log')
    assert 'checkpoints every 2 iterations hold no gradients' in log.read_text()


# --- losses and weights that are not finite


@pytest.mark.slow
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_loss_that_is_not_finite_stops_with_the_files(folder, value):
    runner = build_runner(small_config(folder))
    head = runner.model.decode_head
    loss, calls = head.loss, []

    def fail_in_the_third_step(*arguments):
        calls.append(arguments)
        losses = loss(*arguments)
        return losses if len(calls) < 3 else {**losses, 'loss_mask': losses['loss_mask'] * value}

    head.loss = fail_in_the_third_step
    with pytest.raises(FloatingPointError, match=r'loss_mask=(nan|inf).* in iteration 3') as error:
        runner.train()
    files = [word for word in str(error.value).split() if 'DIS-TR' in word]
    assert len(files) == 2 and all(Path(file.strip(',;')).is_file() for file in files)


def test_weights_that_are_not_finite_are_not_saved(folder):
    runner = build_runner(small_config(folder))
    with torch.no_grad():
        next(runner.model.backbone.parameters()).fill_(float('nan'))
    checkpoint = dict(state_dict=runner.model.state_dict())
    runner.train_loop  # noqa: B018, builds it
    with pytest.raises(CheckpointError, match=r'backbone\..* is not finite after iteration 1: no'):
        WholeCheckpointHook(interval=1).before_save_checkpoint(runner, checkpoint)
