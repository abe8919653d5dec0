"""Selection of the checkpoint that a training resumes from."""

import logging
import os
import re
from pathlib import Path
from typing import IO

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from ..checkpoints import CheckpointError, is_whole
from ..utils.files import UNFINISHED, lock
from .sharding import WITH_SYNC_BN, WITHOUT_PROCESSES

# Launcher -> variables of the environment that hold the rank before there is a process group.
_RANKS = {
    'pytorch': ('RANK',),
    'slurm': ('SLURM_PROCID',),
    'mpi': ('OMPI_COMM_WORLD_RANK',),
}
# Keys of a config that MMEngine's runner applies, but not its runner of strategies.
IGNORED_BY_STRATEGIES = (
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
)


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Returns the path of the last whole checkpoint in `work_dir`, or None if it has none.

    This is the one whose name MMEngine recorded as its last, or else the one of the most iterations
    or epochs: the record is missing if the process was killed while writing it. Its folder does not
    matter, because `work_dir` may have been moved or copied. Damaged checkpoints are skipped with a
    warning.

    Raises:
        CheckpointError: If there are checkpoints, but all are damaged.
    """
    steps = {
        path: int(path.stem.split('_')[1])
        for path in Path(work_dir).glob('*.pth')
        if re.fullmatch(r'(iter|epoch)_\d+', path.stem)
    }
    candidates = sorted(steps, key=steps.get, reverse=True)
    record = Path(work_dir, 'last_checkpoint')
    if record.is_file():
        last = Path(work_dir, Path(record.read_text().strip()).name)
        candidates = [last, *(path for path in candidates if path != last)]
    candidates = [path for path in candidates if path.is_file()]
    for path in candidates:
        if is_whole(path):
            return str(path)
        print_log(
            f'{path} is truncated or damaged: going back to the checkpoint before it',
            logger='current',
            level=logging.WARNING,
        )
    if candidates:
        raise CheckpointError(
            f'cannot resume: every checkpoint in {work_dir} is truncated or damaged; name another '
            'one (--resume CHECKPOINT), or start a new training without --resume'
        )
    return None


def _deepspeed_checkpoints(work_dir: str | Path) -> list[Path]:
    return [path for path in sorted(Path(work_dir).glob('*.pth')) if path.is_dir()]


def claim_work_dir(config: Config) -> IO | None:
    """Keeps other trainings out of the work dir for as long as the result is open.

    Removes what a killed training had begun to write there. Only the main process does anything.

    Args:
        config: Training config, after `set_resume`.

    Raises:
        FileExistsError: If the work dir holds another training, which this one does not resume, or
            if one is running there.
    """
    if any(int(os.environ.get(name, 0)) for name in _RANKS.get(config.launcher, ())):
        return None
    work_dir = Path(config.work_dir)
    checkpoints = [
        path.name
        for path in sorted(work_dir.glob('*.pth'))
        if re.match(r'(iter|epoch)_\d+\.|best_', path.name)
    ]
    if checkpoints and not config.get('resume'):
        raise FileExistsError(
            f'{work_dir} holds the checkpoints of another training ({checkpoints[0]}, ...), which '
            'this one would replace: --resume continues it, --work-dir FOLDER starts elsewhere'
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    try:
        file = lock(work_dir / '.lock')
    except BlockingIOError as error:
        raise FileExistsError(
            f'a training is running in {work_dir}: wait for its end, or --work-dir FOLDER'
        ) from error
    if file is not None:
        for path in work_dir.glob(f'{UNFINISHED}*.pth'):
            path.unlink()
    return file


def set_resume(config: Config, resume: str | None) -> None:
    """Makes a training resume.

    Args:
        config: Training config, changed in place. Its own `resume = True` means 'auto'.
        resume: Path of a checkpoint; 'auto' for the latest one in the work dir, if any; None for
            what `config` says: its `load_from` or 'auto'.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it holds weights, but no training state.
    """
    if resume is None and config.get('resume'):
        resume = config.get('load_from') or 'auto'
    if resume is None:
        return
    if resume == 'auto' and (folders := _deepspeed_checkpoints(config.work_dir)):
        raise ValueError(
            f'cannot resume from {folders[0]}: it is a folder that DeepSpeed wrote; choose another '
            '--work-dir for a new training'
        )
    if resume == 'auto':
        resume = latest_checkpoint(config.work_dir)
        if resume is None:
            print_log(f'nothing to resume from in {config.work_dir}: starting a new training')
            config.resume = False
            return
    resume = os.path.expanduser(resume)
    if not Path(resume).is_file():
        raise FileNotFoundError(
            f'cannot resume: checkpoint {resume} does not exist; expected a .pth file'
        )
    if resume.endswith('.safetensors'):
        raise ValueError(
            f'cannot resume from {resume}, which holds weights but no training state; '
            f'to start with its weights: --cfg-options load_from={resume}'
        )
    # MMEngine resumes from load_from if it is set, otherwise from the work dir.
    config.resume, config.load_from = True, resume


def check_strategy(config: Config) -> None:
    """Checks a training with MMEngine's runner of strategies, and gives the strategy `sync_bn`.

    Args:
        config: Training config after `set_resume`, changed in place.

    Raises:
        ValueError: If `config` combines a strategy with a moving average of the weights, which
            would not resume, or with `sync_bn` or another setting that would be ignored; if there
            are no GPUs or no launched processes; or if DeepSpeed has a checkpoint to start from.
    """
    strategy = (config.get('strategy') or {}).get('type', '')
    if 'DeepSpeed' in strategy and (config.get('load_from') or config.get('resume')):
        raise ValueError(
            f'{strategy} does not start from {config.get("load_from") or "checkpoints"}: it reads '
            'folders of its own only, as pickles that may run any program; train without it, or '
            "give weights in a config, as model.init_cfg=dict(type='Pretrained', checkpoint=...)"
        )
    if 'runner_type' not in config:
        return
    hooks = [*config.get('default_hooks', {}).values(), *config.get('custom_hooks', [])]
    if any(hook and hook['type'] == 'EMAHook' for hook in hooks):
        raise ValueError(
            f'EMAHook does not resume under {config.runner_type}, which loads before the hook '
            'has made its copy of the weights: train without EMA, or without `strategy`'
        )
    ignored = [key for key in IGNORED_BY_STRATEGIES if config.get(key)]
    if ignored:
        raise ValueError(
            f'{", ".join(ignored)}: ignored by {config.runner_type}; leave it out, or train '
            'without `strategy`'
        )
    sync_bn, strategy = config.get('sync_bn'), config.get('strategy')
    if strategy is None or strategy.type in WITHOUT_PROCESSES:
        return
    if config.get('launcher', 'none') == 'none' or get_device() == 'cpu':
        raise ValueError(
            f'strategy.type={strategy.type!r} needs GPUs and a process for each of them: '
            'tools/dist_train.sh CONFIG GPUS'
        )
    if not sync_bn:
        return
    if strategy.type not in WITH_SYNC_BN:
        raise ValueError(
            f'sync_bn={sync_bn!r} is ignored by strategy.type={strategy.type!r}: expected one of '
            f'{WITH_SYNC_BN}, or --cfg-options sync_bn=None'
        )
    strategy.sync_bn = sync_bn
