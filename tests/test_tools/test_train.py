"""tools/train.py with a model of one weight: training, resuming, launchers, options and errors."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from helpers import train, training_error
from mmengine.config import Config

TOY = """
import os
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmseg.registry import DATASETS, METRICS, MODELS


@DATASETS.register_module(force=True)
class ToyDataset(torch.utils.data.Dataset):
    metainfo = {}

    def __init__(self, folder=None):
        if folder is not None and not os.path.isdir(folder):
            raise FileNotFoundError(f'no data in {folder}')

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        output = self.layer(torch.stack(inputs))
        return dict(loss=(output - 1).square().mean()) if mode == 'loss' else list(output)


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(count=len(results))
"""

CONFIG = """
custom_imports = dict(imports=['mmdiffdis', 'toy'])
default_scope = 'mmseg'
model = dict(type='ToyModel')
loader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(type='ToyDataset'),
    collate_fn=dict(type='pseudo_collate'),
)
train_dataloader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='ToyMetric')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2),
)
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Path of a toy config in the current folder, from which modules are imported."""
    (tmp_path / 'toy.py').write_text(TOY)
    path = tmp_path / 'toy_2i.py'
    path.write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), str(tmp_path)]))
    yield path
    sys.modules.pop('toy', None)


class RunsCode:
    """Evaluates `code` when it is unpickled."""

    def __init__(self, code: str):
        self.code = code

    def __reduce__(self):
        return eval, (self.code,)


def log_of(work_dir: Path) -> str:
    return max(work_dir.glob('*/*.log'), key=os.path.getmtime).read_text()


def test_trains_and_writes_to_the_default_work_dir(config, monkeypatch):
    train(monkeypatch, config, '--seed', '3', '--amp')
    work_dir = config.parent / 'work_dirs' / 'toy_2i'
    checkpoint = torch.load(work_dir / 'iter_2.pth', weights_only=False)
    assert checkpoint['meta']['iter'] == 2 and checkpoint['meta']['seed'] == 3
    log = log_of(work_dir)
    assert 'eta: ' in log and 'count: 8' in log
    saved = Config.fromfile(work_dir / 'toy_2i.py')
    assert saved.randomness.seed == 3
    assert saved.optim_wrapper.type in ('BFloat16OptimWrapper', 'AmpOptimWrapper')


def test_resume_finds_the_checkpoint_of_a_moved_work_dir(config, monkeypatch):
    train(monkeypatch, config, '--work-dir', 'run')
    os.rename('run', 'moved')
    options = ('--cfg-options', 'train_cfg.max_iters=4', 'load_from=mmdiffdis://ignored')
    train(monkeypatch, config, '--work-dir', 'moved', '--resume', *options)
    assert 'resumed epoch: 0, iter: 2' in log_of(config.parent / 'moved')
    assert Path('moved/iter_4.pth').is_file()


def test_foreign_checkpoint_runs_no_code(config, monkeypatch, capsys):
    """Neither its pickle, nor the config in it, which MMEngine would run when it resumes."""
    train(monkeypatch, config, '--work-dir', 'run')
    checkpoint = torch.load('run/iter_2.pth', weights_only=False)
    code = f"open({str(config.parent / 'marker')!r}, 'w')"
    checkpoint['meta']['config'] = f'{code}.close()\n'
    torch.save(checkpoint, 'config.pth')
    torch.save({**checkpoint, 'payload': RunsCode(code)}, 'pickle.pth')
    command = (config, '--work-dir', 'other', '--cfg-options', 'train_cfg.max_iters=3', '--resume')
    train(monkeypatch, *command, 'config.pth')
    assert 'eval`' in training_error(monkeypatch, capsys, *command, 'pickle.pth')
    assert not Path('marker').exists()
    eval(code).close()  # the code does make the marker
    assert Path('marker').exists()


def test_full_disk_is_one_line(config, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    option = 'default_hooks.checkpoint.type=WholeCheckpointHook'
    message = training_error(monkeypatch, capsys, config, '--cfg-options', option)
    assert 'iter_2.pth' in message and 'was not written: No space left on device' in message


def test_loss_that_is_not_finite_is_one_line(config, monkeypatch, capsys):
    (config.parent / 'toy.py').write_text(TOY.replace('output - 1', "output * float('inf')"))
    option = "custom_hooks=[dict(type='FiniteLossHook')]"
    config.write_text(config.read_text() + option)
    assert 'loss=inf in iteration 1' in training_error(monkeypatch, capsys, config)


def test_mistakes_on_the_command_line(config, monkeypatch, capsys):
    def error(*arguments):
        return training_error(monkeypatch, capsys, *arguments)

    assert 'config nothing.py does not exist' in error('nothing.py')
    assert f'config {config.parent} is a folder' in error(config.parent)
    assert "got 'max_iters', expected KEY=VALUE" in error(config, '--cfg-options', 'max_iters')
    assert 'unknown key modle in --cfg-options modle.type; did you mean model?' in error(
        config, '--cfg-options', 'modle.type=FCN'
    )
    assert 'unknown key xyzzy in --cfg-options xyzzy; there are: custom_imports, ' in error(
        config, '--cfg-options', 'xyzzy=1'
    )
    assert 'cannot resume: checkpoint no.pth does not exist' in error(config, '--resume', 'no.pth')
    assert 'invalid choice: ' in error(config, '--launcher', 'ssh')


def test_mistakes_in_the_config(config, monkeypatch, capsys):
    def error(*options):
        return training_error(monkeypatch, capsys, config, '--cfg-options', *options)

    assert 'NoModel is not in the mmseg::model registry' in error('model.type=NoModel')
    assert "unexpected keyword argument 'depth'" in error('model.depth=3')
    assert "unexpected keyword argument 'max_itres'" in error('train_cfg.max_itres=3')
    assert 'no data in nowhere' in error('train_dataloader.dataset.folder=nowhere')
    assert 'no data in nowhere' in error('val_dataloader.dataset.folder=nowhere')
    assert 'checkpoint no.pth does not exist' in error('load_from=no.pth')
    Path('empty.pth').touch()
    assert 'checkpoint empty.pth is empty' in error('load_from=empty.pth')
    assert 'is not shipped with mmdiffdis' in error('load_from=mmdiffdis://nothing')
    assert "unexpected keyword argument 'lrate'" in error('optim_wrapper.optimizer.lrate=1')
    scheduler = "param_scheduler=[dict(type='LinearLR', by_epoch=False, ends=3)]"
    config.write_text(f'{CONFIG}{scheduler}\n')
    assert "unexpected keyword argument 'ends'" in error('val_evaluator.prefix=x')
    config.write_text(CONFIG)
    hook = 'default_hooks.checkpoint'
    options = f'{hook}.type=WholeCheckpointHook', f'{hook}.intervall=3'
    assert 'intervall: no argument of WholeCheckpointHook' in error(*options)
    for key in ('max_iters', 'val_interval'):
        assert f'train_cfg.{key}=0: expected at least 1' in error(f'train_cfg.{key}=0')


def test_options_of_the_test_are_said_to_change_nothing(config, monkeypatch, capsys):
    options = ('train_cfg.max_iters=1', 'tta_model.x=1', 'tta_pipeline=[1]')
    train(monkeypatch, config, '--cfg-options', *options)
    expected = f'without effect on a training: --cfg-options {options[1]} {options[2]}\n'
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize('kept', [('state_dict',), ('state_dict', 'meta', 'message_hub')])
def test_weights_alone_are_not_resumed_from(config, monkeypatch, capsys, kept):
    train(monkeypatch, config, '--work-dir', 'run')
    checkpoint = torch.load('run/iter_2.pth', weights_only=False)
    torch.save({key: checkpoint[key] for key in kept}, 'weights.pth')
    message = training_error(
        monkeypatch, capsys, config, '--work-dir', 'other', '--resume', 'weights.pth'
    )
    assert 'cannot resume from weights.pth, which holds weights but no training state' in message


def test_training_of_other_parameters_is_not_resumed(config, monkeypatch, capsys):
    train(monkeypatch, config, '--work-dir', 'run')
    option = 'optim_wrapper.paramwise_cfg.bias_lr_mult=2'  # a group for each parameter
    arguments = ('--work-dir', 'run', '--resume', '--cfg-options', 'train_cfg.max_iters=3', option)
    message = training_error(monkeypatch, capsys, config, *arguments)
    assert 'the config trains other parameters, or has other options (--with), than' in message


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_mixed_precision_of_gpus_without_a_gpu(config, monkeypatch, capsys):
    options = ('--cfg-options', 'optim_wrapper.type=AmpOptimWrapper')
    message = training_error(monkeypatch, capsys, config, *options)
    assert 'AmpOptimWrapper needs a GPU, and there is none' in message


def test_mistakes_while_reading_the_config(config, monkeypatch, capsys):
    def error(text):
        config.write_text(text)
        return training_error(monkeypatch, capsys, config)

    assert 'was never closed' in error('model = dict(\n')
    assert 'no_base.py' in error("_base_ = './no_base.py'\n")
    assert "No module named 'no_module'" in error("custom_imports = dict(imports=['no_module'])")


def test_traceback_is_shown_on_demand(config, monkeypatch):
    monkeypatch.setenv('MMDIFFDIS_TRACEBACK', '1')
    with pytest.raises(FileNotFoundError, match=r'config nothing\.py does not exist'):
        train(monkeypatch, 'nothing.py')


def test_error_of_a_loader_worker_is_one_line(config, monkeypatch, capsys):
    text = TOY.replace(
        'return dict(inputs', "raise FileNotFoundError('lost.png')\n        return dict(inputs"
    )
    (config.parent / 'toy.py').write_text(text)
    options = ('--cfg-options', 'train_dataloader.num_workers=1')
    message = training_error(monkeypatch, capsys, config, *options)
    assert 'train.py: error: FileNotFoundError: lost.png' in message


def test_error_of_the_program_keeps_its_traceback(config, monkeypatch):
    """Errors inside the training loop are not the user's, and are not shortened."""
    (config.parent / 'toy.py').write_text(TOY.replace('output - 1', 'output - undefined'))
    with pytest.raises(NameError, match='undefined'):
        train(monkeypatch, config)


# Writes the names of the program's threads as it ends, on Linux.
WRITE_THREADS = """
import atexit
import os
from pathlib import Path


@atexit.register
def write_threads():
    names = [file.read_text() for file in Path('/proc/self/task').glob('*/comm')]
    Path(f'threads_{os.environ["RANK"]}').write_text(''.join(names))
"""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_two_processes_on_a_cpu_train_one_model(config):
    """Through tools/dist_train.sh: gloo, and both processes' gradients in each step."""
    with config.with_name('toy.py').open('a') as toy:
        toy.write(WRITE_THREADS)
    result = subprocess.run(
        [ROOT / 'tools' / 'dist_train.sh', config, '2', '--work-dir', 'run', '--seed', '0'],
        env={**os.environ, 'PYTHON': sys.executable, 'PORT': str(20000 + os.getpid() % 20000)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stderr
    log = log_of(config.parent / 'run')
    assert 'GPU number: 2' in log and 'count: 8' in log
    assert Path('run/iter_2.pth').is_file()
    # a thread that waits for the interpreter as it ends may abort it
    assert not any('gloo' in Path(f'threads_{rank}').read_text() for rank in '01')


def test_scripts_print_their_usage():
    for script, usage in (
        ('dist_train.sh', 'CONFIG GPUS'),
        ('dist_test.sh', 'CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', 'PARTITION JOB_NAME CONFIG [WORK_DIR]'),
    ):
        result = subprocess.run([ROOT / 'tools' / script], capture_output=True, text=True)
        assert result.returncode == 2 and usage in result.stderr


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['w d'], ['--work-dir', 'w d', '--launcher', 'slurm']),
        (['w', '--amp'], ['--work-dir', 'w', '--launcher', 'slurm', '--amp']),
        (['--amp'], ['--launcher', 'slurm', '--amp']),
        ([], ['--launcher', 'slurm']),
    ],
)
def test_slurm_script_passes_its_arguments_on(tmp_path, arguments, expected):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    srun.chmod(0o755)
    environment = {
        **os.environ,
        'PATH': f'{tmp_path}:{os.environ["PATH"]}',
        'GPUS': '2',
        'SRUN_ARGS': '--time 1',
    }
    command = [ROOT / 'tools' / 'slurm_train.sh', 'part', 'job', 'a config.py', *arguments]
    words = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for word in ('--job-name=job', '--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2', '--time'):
        assert word in words
    assert words[words.index('a config.py') + 1 :] == expected


@pytest.mark.slow
def test_runner_runs_the_config_without_the_tool(config):
    """`Runner.from_cfg` trains and resumes by the config's own imports."""
    code = (
        'from mmengine.config import Config; from mmengine.runner import Runner;'
        f"cfg = Config.fromfile({str(config)!r}); cfg.work_dir = 'run';"
        'Runner.from_cfg(cfg).train(); cfg.resume = True; cfg.train_cfg.max_iters = 4;'
        'cfg.experiment_name = "again"; Runner.from_cfg(cfg).train()'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, capture_output=True)
    assert Path('run/iter_4.pth').is_file()


def test_options_are_merged_into_the_config(config, monkeypatch, capsys):
    train(monkeypatch, config, '--work-dir', 'run', '--with', 'ema', 'accumulate4')
    saved = Config.fromfile('run/toy_2i.py')
    assert saved.optim_wrapper.accumulative_counts == 4
    checkpoint = torch.load('run/iter_2.pth', weights_only=False)
    assert set(checkpoint['ema_state_dict']) >= {'module.layer.weight', 'steps'}
    message = training_error(monkeypatch, capsys, config, '--with', 'emma')
    assert "invalid choice: 'emma'" in message and 'accumulate4' in message


@pytest.mark.slow
def test_compiled_training(config, monkeypatch):
    train(
        monkeypatch, config, '--with', 'compile', '--cfg-options', 'compile.backend=eager',
        '--work-dir', str(config.parent / 'run'),
    )  # fmt: skip
    assert 'Model has been "compiled"' in log_of(config.parent / 'run')


def test_strategy_brings_its_own_runner(config, monkeypatch, capsys):
    config.write_text(
        CONFIG
        + "env_cfg = dict()\nrunner_type = 'FlexibleRunner'\n"
        + "strategy = dict(type='SingleDeviceStrategy')\n"
    )
    train(monkeypatch, config, '--work-dir', 'run')
    assert Path('run/iter_2.pth').is_file()
    message = training_error(monkeypatch, capsys, config, '--with', 'ema')
    assert 'EMAHook does not resume under FlexibleRunner' in message and 'without EMA' in message


def test_option_that_an_argument_decides_is_refused(config, monkeypatch, capsys):
    for argument, value, option in (
        ('--work-dir', 'run', 'work_dir=x'),
        ('--seed', '3', 'randomness.seed=4'),
    ):
        message = training_error(
            monkeypatch, capsys, config, argument, value, '--cfg-options', option
        )
        assert f'{option} changes nothing: {argument} decides it' in message


@pytest.mark.parametrize('key', ['model', 'optim_wrapper'])
def test_config_without_a_needed_key(config, monkeypatch, capsys, key):
    text = config.read_text()
    config.write_text(text + f'\ndel {key}\n')
    message = training_error(monkeypatch, capsys, config, '--amp')
    assert f'does not define {key}' in message


def test_training_does_not_replace_another_in_its_default_work_dir(config, monkeypatch, capsys):
    train(monkeypatch, config)
    message = training_error(monkeypatch, capsys, config)
    assert 'holds the checkpoints of another training' in message and '--work-dir' in message
    train(monkeypatch, config, '--resume', '--cfg-options', 'train_cfg.max_iters=3')
    train(monkeypatch, config, '--work-dir', 'other')
