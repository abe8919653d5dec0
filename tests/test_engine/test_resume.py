"""Selection of the checkpoint that a training resumes from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.model import BaseModel

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.engine import SyncBNFSDPStrategy, resume
from mmdiffdis.engine.resume import check_strategy, claim_work_dir, latest_checkpoint, set_resume
from mmdiffdis.utils.files import UNFINISHED


@pytest.fixture
def work_dir(tmp_path, monkeypatch) -> Path:
    """A work dir `run` in the current folder, with checkpoints after 1 and 2 iterations."""
    monkeypatch.chdir(tmp_path)
    folder = Path('run')
    folder.mkdir()
    for iteration in (1, 2):
        torch.save(dict(layer=torch.ones(100)), folder / f'iter_{iteration}.pth')
    (folder / 'last_checkpoint').write_text('run/iter_2.pth')
    return folder


@pytest.fixture
def messages(monkeypatch) -> list[str]:
    """Messages that are logged."""
    logged = []
    monkeypatch.setattr(resume, 'print_log', lambda message, **_: logged.append(message))
    return logged


def config_of(work_dir: Path | str, **changes) -> Config:
    return Config(dict(work_dir=str(work_dir), resume=False, load_from=None) | changes)


def test_latest_checkpoint_after_a_kill_at_the_worst_moment(work_dir):
    """While the next checkpoint, or the record of the last one, was being written."""
    (work_dir / 'iter_3.pth').write_bytes(b'PK half of a checkpoint')
    (work_dir / 'best_iter_9.pth').write_bytes((work_dir / 'iter_2.pth').read_bytes())
    Path('copy').mkdir()
    shutil.copy(work_dir / 'iter_2.pth', 'copy')  # of the work dir, which has its own
    for record in ('', 'run/iter_0.pth', '/moved/run/iter_2.pth', 'copy/iter_2.pth'):
        (work_dir / 'last_checkpoint').write_text(record)
        assert latest_checkpoint(work_dir) == 'run/iter_2.pth'
    (work_dir / 'last_checkpoint').unlink()
    assert latest_checkpoint(work_dir) == 'run/iter_2.pth'


def test_recorded_checkpoint_comes_first(work_dir):
    """It may lie before the furthest one, after a training that was started again."""
    (work_dir / 'last_checkpoint').write_text('run/iter_1.pth')
    assert latest_checkpoint(work_dir) == 'run/iter_1.pth'


@pytest.mark.parametrize('damage', ['truncated', 'altered', 'empty'])
def test_damaged_last_checkpoint_is_skipped_with_a_warning(work_dir, messages, damage):
    last = work_dir / 'iter_2.pth'
    contents = last.read_bytes()
    altered = contents.replace(b'layer', b'LAYER')
    last.write_bytes({'truncated': contents[:-100], 'altered': altered, 'empty': b''}[damage])
    assert latest_checkpoint(work_dir) == 'run/iter_1.pth'
    assert messages == [
        'run/iter_2.pth is truncated or damaged: going back to the checkpoint before it'
    ]


def test_damaged_checkpoints_only(work_dir):
    for path in work_dir.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match='every checkpoint in run is truncated or damaged'):
        latest_checkpoint(work_dir)


def test_training_resumes_from_the_latest_or_the_given_checkpoint(work_dir):
    for checkpoint, changes, expected in (
        ('auto', dict(load_from='mmdiffdis://ignored'), 'run/iter_2.pth'),
        (None, dict(resume=True), 'run/iter_2.pth'),
        ('run/iter_1.pth', {}, 'run/iter_1.pth'),
    ):
        config = config_of(work_dir, **changes)
        set_resume(config, checkpoint)
        assert config.resume and config.load_from == expected
    config = config_of(work_dir, load_from='weights.pth')
    set_resume(config, None)
    assert not config.resume and config.load_from == 'weights.pth'


def test_nothing_to_resume_from_is_said_and_starts_a_new_training(tmp_path, messages):
    config = config_of(tmp_path, resume=True)
    set_resume(config, 'auto')
    assert messages == [f'nothing to resume from in {tmp_path}: starting a new training']
    assert not config.resume and config.load_from is None


def test_given_checkpoint_must_be_one_of_a_training(work_dir):
    with pytest.raises(FileNotFoundError, match=r'cannot resume: checkpoint no\.pth does not exis'):
        set_resume(config_of(work_dir), 'no.pth')
    with pytest.raises(FileNotFoundError, match=r'checkpoint mmdiffdis://x does not exist'):
        set_resume(config_of(work_dir, resume=True, load_from='mmdiffdis://x'), None)
    Path('x.safetensors').touch()
    with pytest.raises(ValueError, match='no training state; to start with its weights: --cfg-opt'):
        set_resume(config_of(work_dir), 'x.safetensors')


def test_second_training_does_not_replace_the_first(work_dir):
    config = config_of(work_dir, launcher='none')
    with pytest.raises(FileExistsError, match=r'another training \(iter_1\.pth, .*--work-dir FOLD'):
        claim_work_dir(config)
    set_resume(config, 'auto')
    claim_work_dir(config).close()
    for path in work_dir.iterdir():
        path.unlink()
    (work_dir / 'mine.pth').touch()
    claim_work_dir(config_of(work_dir, launcher='none')).close()
    (work_dir / 'best_maxF_iter_9.pth').touch()
    with pytest.raises(FileExistsError, match=r'best_maxF_iter_9\.pth'):
        claim_work_dir(config_of(work_dir, launcher='none'))


@pytest.mark.slow
def test_unfinished_checkpoints_of_a_living_training_stay(tmp_path):
    leftover = tmp_path / f'{UNFINISHED}123.pth'
    leftover.touch()
    code = (
        'from pathlib import Path; from mmdiffdis.utils.files import lock\n'
        f'file = lock(Path({str(tmp_path)!r}) / ".lock")\n'
        'print(flush=True); input()'
    )
    living = subprocess.Popen(
        [sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    living.stdout.readline()
    config = config_of(tmp_path, launcher='none')
    with pytest.raises(FileExistsError, match='a training is running in .*, or --work-dir FOLDER'):
        claim_work_dir(config)
    assert leftover.exists()
    living.kill()
    living.wait()
    claim = claim_work_dir(config)
    assert claim is not None and not leftover.exists()


def test_only_the_main_process_claims_the_work_dir(work_dir, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    assert claim_work_dir(config_of(work_dir, launcher='pytorch')) is None


def test_deepspeed_starts_from_no_checkpoint(work_dir):
    strategy = dict(type='DeepSpeedStrategy')
    check_strategy(config_of(work_dir, strategy=strategy))
    for changes in (dict(load_from='mmdiffdis://x'), dict(load_from='a.pth', resume=True)):
        with pytest.raises(ValueError, match='DeepSpeedStrategy does not start from .*init_cfg'):
            check_strategy(config_of(work_dir, strategy=strategy, **changes))
    (work_dir / 'iter_3.pth').mkdir()
    with pytest.raises(ValueError, match=r'iter_3\.pth: it is a folder that DeepSpeed wrote'):
        set_resume(config_of(work_dir), 'auto')


def test_moving_average_does_not_go_with_a_strategy():
    config = Config(dict(default_hooks=dict(ema=dict(type='EMAHook'), timer=None)))
    check_strategy(config)
    config.runner_type = 'FlexibleRunner'
    with pytest.raises(ValueError, match='EMAHook does not resume under FlexibleRunner'):
        check_strategy(config)
    config.default_hooks.ema = None
    check_strategy(config)


def test_strategy_keeps_synchronised_batch_norm_or_is_refused(monkeypatch):
    monkeypatch.setattr(resume, 'get_device', lambda: 'cuda')
    for name in ('fsdp', 'deepspeed_zero2'):
        option = Config.fromfile(ROOT / f'configs/_base_/options/{name}.py')
        config = Config(dict(option.to_dict(), sync_bn='torch', launcher='pytorch'))
        check_strategy(config)
        assert config.strategy.sync_bn == 'torch'
        config.strategy.type = config.strategy.type.removeprefix('SyncBN')
        with pytest.raises(ValueError, match=r"sync_bn='torch' is ignored by strategy.type='"):
            check_strategy(config)
        config.sync_bn = None
        check_strategy(config)
        config.launcher = 'none'
        with pytest.raises(ValueError, match=r'needs GPUs and a process for each of them: tools/d'):
            check_strategy(config)


def test_settings_that_a_strategy_would_ignore_are_refused():
    config = Config(dict(runner_type='FlexibleRunner', find_unused_parameters=True))
    with pytest.raises(ValueError, match='find_unused_parameters: ignored by FlexibleRunner'):
        check_strategy(config)


def test_sharded_model_gets_synchronised_batch_norm():
    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(2)

        def forward(self, *inputs, mode='tensor'):
            raise NotImplementedError

    strategy = SyncBNFSDPStrategy(sync_bn='torch')
    model = strategy.build_model(Model())
    assert isinstance(model.norm, torch.nn.SyncBatchNorm)
    assert set(strategy.id_to_name) == {id(p) for p in model.parameters()}
