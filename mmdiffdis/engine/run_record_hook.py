"""Hook that records the conditions of a training beside its checkpoints, and in them."""

import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch.utils.data import Dataset

from ..utils.environment import versions
from ..utils.files import save_json

RECORD_NAME = 'run.json'
SAMPLED_BYTES = 4096  # of a file's beginning (its header) and of its end, for the fingerprint


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Records seed, versions, config, git state and data fingerprints of a training.

    `run.json` in the work dir holds the seed, the number of processes, the full config, versions,
    the state of the code's git repository, the protocol of each metric and fingerprints of the
    data. Checkpoints hold the same in `meta.run` (the config in `meta.cfg`). A resumed training
    warns if its data or its config differ from those of the checkpoint.
    """

    def __init__(self):
        self._resumed = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Stores the record of the training that is resumed."""
        if runner._resume:
            meta = checkpoint.get('meta', {})
            self._resumed = dict(meta.get('run', {}), config=meta.get('cfg'))

    def before_train(self, runner: Runner) -> None:
        """Writes the record."""
        if not is_main_process():
            return
        self.record = dict(
            seed=runner.seed,
            processes=runner.world_size,
            versions=versions(),
            git=git_state(Path(__file__).parent),
            protocol=_protocols(runner),
            data=dict(train=fingerprint(runner.train_dataloader.dataset)),
        )
        if runner.val_loop is not None:
            self.record['data']['val'] = fingerprint(runner.val_dataloader.dataset)
        config = runner.cfg.pretty_text
        if self._resumed is not None:
            self._compare(runner, config)
            self.record['resumed_at_iteration'] = runner.iter
        save_json({**self.record, 'config': config}, Path(runner.work_dir) / RECORD_NAME)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adds the record to the checkpoint."""
        if is_main_process():  # sharded trainings ask all processes
            checkpoint['meta']['run'] = self.record

    def _compare(self, runner: Runner, config: str) -> None:
        before = self._resumed
        for part, fingerprint_now in self.record['data'].items():
            fingerprint_then = before.get('data', {}).get(part)
            if fingerprint_then and fingerprint_then != fingerprint_now:
                runner.logger.warning(
                    f'the {part} data differ from those of the checkpoint: {fingerprint_now} '
                    f'instead of {fingerprint_then}'
                )
        ignored = ('load_from', 'resume', 'launcher', 'work_dir')
        lines = [
            {line for line in text.splitlines() if not line.startswith(ignored)}
            for text in (before['config'] or config, config)
        ]
        changed = sorted(lines[0] ^ lines[1])
        if changed:
            runner.logger.warning(f'the config differs from that of the checkpoint in {changed}')


def _protocols(runner: Runner) -> dict[str, dict]:
    metrics = runner.val_evaluator.metrics if runner.val_loop is not None else []
    return {
        type(metric).__name__: metric.protocol_record()
        for metric in metrics
        if hasattr(metric, 'protocol_record')
    }


def git_state(folder: Path) -> dict[str, str | list[str]] | None:
    """Returns 'commit' and 'changed' (files with uncommitted changes) of a folder's git repository.

    None if it is in no repository, or git is not installed.
    """

    def git(*arguments: str) -> str:
        command = ['git', '-C', str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        changed = git('status', '--porcelain', '--untracked-files=no').splitlines()
        return dict(commit=git('rev-parse', 'HEAD').strip(), changed=[line[3:] for line in changed])
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint(dataset: Dataset) -> dict[str, int | str] | None:
    """Returns a hash of the contents of a data set, independent of where it lies.

    Args:
        dataset: Data set with a method `files()`, or one of MMEngine's wrappers around such sets.

    Returns:
        'files', the number of files, and 'hash', a hexadecimal hash of their names, sizes and first
        and last 4 KiB. None if the data set does not list its files.
    """
    files = list(_files(dataset))
    if not files:
        return None
    root = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        with open(name, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            total.update(os.fsencode(f'{os.path.relpath(name, root)}\0{size}\0'))
            total.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            total.update(file.read())
    return dict(files=len(files), hash=total.hexdigest())


def inner_datasets(dataset: Dataset) -> Iterable[Dataset]:
    """Yields a data set and those inside of it, if it is a wrapper."""
    yield dataset
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            yield from inner_datasets(inner)


def _files(dataset: Dataset) -> Iterable[str]:
    for inner in inner_datasets(dataset):
        if hasattr(inner, 'files'):
            yield from inner.files()
