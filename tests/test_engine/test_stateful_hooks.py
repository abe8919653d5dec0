"""Hooks with a state: a training that was interrupted or has ended goes on as if it had not."""

import copy
import itertools
import math
import shutil

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from mmseg.registry import HOOKS, MODELS
from small_training import STEMS, build_runner, small_config
from torch import nn

from mmdiffdis.checkpoints import CheckpointError, load_strictly, save_weights
from mmdiffdis.engine import DISEarlyStoppingHook


@pytest.fixture
def folder(tmp_path, write_set):
    write_set(tmp_path / 'set', 'DIS-TR', stems=STEMS)
    return tmp_path


@HOOKS.register_module(force=True)
class StopHook(Hook):
    """Interrupts a training before or after the validation of an iteration."""

    priority = 'VERY_LOW'

    def __init__(self, iteration: int, before_validation: bool):
        self.iteration, self.before_validation = iteration, before_validation

    def before_val_epoch(self, runner):
        if self.before_validation and runner.iter == self.iteration:
            raise KeyboardInterrupt

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


def validated(folder, **changes):
    """Config of a training that validates every second of eight steps and stops early."""
    config = small_config(folder, **changes)
    config.default_hooks.checkpoint.update(save_best='maxF', rule='greater', max_keep_ckpts=-1)
    config.train_cfg.update(val_begin=1, val_interval=2)
    config.custom_hooks = [
        dict(type='DISEarlyStoppingHook', monitor='maxF', rule='greater', patience=2)
    ]
    return config


def train(config, scores=(0.5, 0.4, 0.3, 0.2)):
    """Trains with given scores of the validations after 2, 4, ... steps; returns the runner."""
    runner = build_runner(config)
    runner.val_loop.evaluator.evaluate = lambda size: {'maxF': scores[runner.iter // 2 - 1]}
    load_strictly(runner)
    runner.train()
    return runner


@pytest.mark.slow
def test_ended_training_that_is_resumed_does_not_train_on(folder):
    config = validated(folder)
    assert train(config).iter == 6  # two validations without improvement
    config.resume = True
    assert train(config).iter == 6


def test_early_stopping_needs_no_training_set_to_score(folder):
    config = validated(folder)
    config.train_dataloader.dataset.data_root = str(folder / 'nowhere')
    for name in ('cfg', 'dataloader', 'evaluator'):
        config[f'test_{name}'] = copy.deepcopy(config[f'val_{name}'])
    config.test_cfg.type = 'TestLoop'
    runner = build_runner(config)
    assert 0 <= runner.test()['maxF'] <= 1
    runner._train_loop = None
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, DISEarlyStoppingHook))
    with pytest.raises(AssertionError, match='should contain `stop_training`'):
        hook.before_train(runner)


@pytest.mark.slow
@pytest.mark.parametrize('before_validation', [True, False])
def test_early_stopping_and_best_checkpoint_survive_an_interruption(folder, before_validation):
    whole = validated(folder)
    train(whole)
    config = validated(folder, work_dir=str(folder / 'again'))
    stopped = Config(dict(config))
    stop = dict(type='StopHook', iteration=4, before_validation=before_validation)
    stopped.custom_hooks = [*config.custom_hooks, stop]
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    config.resume = True
    assert train(config).iter == 6
    names = [sorted(p.name for p in (folder / run).glob('*.pth')) for run in ('run', 'again')]
    assert names[0] == names[1] and 'best_maxF_iter_2.pth' in names[0]
    states = [
        CheckpointLoader.load_checkpoint(str(folder / run / 'iter_6.pth'), 'cpu')
        for run in ('run', 'again')
    ]
    assert (
        states[0]['early_stopping']
        == states[1]['early_stopping']
        == dict(best_score=0.5, wait_count=1)
    )
    torch.testing.assert_close(states[0]['state_dict'], states[1]['state_dict'], rtol=0, atol=0)
    for state in states:
        assert state['message_hub']['runtime_info']['best_score'] == 0.5


@pytest.mark.slow
def test_best_checkpoints_of_a_killed_or_another_training(folder):
    """Left behind ones are removed, those of the work dir that this one was copied from are not."""
    train(validated(folder))
    best = 'best_maxF_iter_2.pth'
    shutil.copytree(folder / 'run', folder / 'copy')
    config = validated(folder, work_dir=str(folder / 'copy'), resume=True)
    for name in ('best_maxF_iter_1.pth', 'best_maxF_iter_99.pth', 'best_mine.pth'):
        (folder / 'copy' / name).touch()
    config.train_cfg.max_iters = 8
    config.custom_hooks = []
    train(config, (0.5, 0.4, 0.3, 0.9))
    assert (folder / 'run' / best).is_file()
    names = sorted(path.name for path in (folder / 'copy').glob('best_*'))
    assert names == ['best_maxF_iter_8.pth', 'best_maxF_iter_99.pth', 'best_mine.pth']


def stops_at(scores, **settings) -> int | None:
    hook = DISEarlyStoppingHook('maxF', rule='greater', **settings)
    for number, score in enumerate(scores, start=1):
        if hook._check_stop_condition(score)[0]:
            return number
    return None


def test_early_stopping_waits_while_there_is_any_improvement():
    (settings,) = (
        {key: value for key, value in hook.items() if key not in ('type', 'monitor', 'rule')}
        for hook in Config.fromfile(
            ROOT / 'configs/isnet/isnet_1xb8_dis5k-1024x1024.py'
        ).custom_hooks
        if hook.type == 'DISEarlyStoppingHook'
    )
    rising = [0.3 + 0.01 * i for i in range(50)]
    assert stops_at(rising, **settings) is None
    assert stops_at([*rising, *itertools.repeat(rising[-1], 30)], **settings) == 70


@pytest.mark.parametrize('iterations', [20, 400, 1200, 10_000])
def test_moving_average_forgets_the_first_weights(iterations):
    """The length of a training with `--with ema` does not matter."""
    ema = Config.fromfile(ROOT / 'configs/_base_/options/ema.py').default_hooks.ema
    settings = {key: value for key, value in ema.items() if key not in ('type', 'ema_type')}
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    average = MODELS.build(dict(type=ema.ema_type, model=model, **settings))
    for _ in range(iterations):
        average.update_parameters(model)
        nn.init.zeros_(model.weight)  # the weights of the first iteration alone are 1
    assert float(average.module.weight) < 1e-3
    share, ages = 1.0, []  # and it averages more than the last iterations
    for age in range(iterations - 1):
        momentum = max(ema.momentum, ema.gamma / (ema.gamma + iterations - 1 - age))
        ages.append(age * share * momentum)
        share *= 1 - momentum
    assert math.fsum(ages) > 0.05 * min(iterations, 1000)


def test_checkpoint_that_does_not_fit_stops_the_training_with_the_names(folder):
    config = small_config(folder, load_from='mmdiffdis://vae_tiny')
    with pytest.raises(
        CheckpointError, match=r'(?s)vae_tiny does not fit.*load_partially=True'
    ) as e:
        train(config)
    assert 'vae.autoencoder' in str(e.value)


def test_part_of_a_checkpoint_is_taken_if_it_is_asked_for(folder):
    runner = build_runner(small_config(folder, custom_hooks=[]))
    state = runner.model.state_dict()
    part = {name: tensor + 1 for name, tensor in state.items() if name.startswith('backbone.up')}
    path = save_weights(part, folder / 'part.safetensors')
    load_strictly(runner, partially=True)
    runner.load_checkpoint(str(path))
    name = next(iter(part))
    assert torch.equal(runner.model.state_dict()[name], part[name])
