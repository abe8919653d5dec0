"""Checkpoints that an interruption or a full disk cannot damage."""

import os
import re
from inspect import signature
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import HOOKS

from ..checkpoints import CheckpointError
from ..utils.files import atomic_write

BACKEND = 'whole_files'


class WholeFilesBackend(LocalBackend):
    """MMEngine's file backend for local disks, with atomic writing."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file atomically; an existing file is replaced.

        Raises:
            CheckpointError: If it could not be written; an existing file is left as it was.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(path) as temporary, temporary.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the contents
        except OSError as error:
            raise CheckpointError(
                f'checkpoint {path} ({len(obj)} bytes) was not written: {error.strerror}; the ones '
                'before it are whole: make room, or choose another --work-dir, and --resume'
            ) from error


register_backend(BACKEND, WholeFilesBackend, force=True)


class DeferredRemoval:
    """A file backend whose `remove` only collects paths; everything else is the backend's.

    `CheckpointHook` removes an obsolete checkpoint before it writes the next one. With this
    backend, `WholeCheckpointHook` removes it after the next one has been written.

    Args:
        backend: File backend.
    """

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self._obsolete: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def remove(self, filepath: str) -> None:
        """Collects a path for `remove_collected`."""
        self._obsolete.append(filepath)

    def remove_collected(self, keep: set[str | None]) -> None:
        """Removes the collected files that are not in `keep`."""
        for path in self._obsolete:
            if path not in keep and self._backend.isfile(path):
                self._backend.remove(path)
        self._obsolete.clear()


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, for trainings that may be killed at any moment.

    A checkpoint is written atomically, obsolete ones are removed after that, and weights that are
    not finite are not written. The disk must have room for one checkpoint more than are kept.

    A checkpoint is written before the validation of the same step. A resumed training begins with
    that validation, so that the best checkpoint, early stopping and the log go on as they would
    have without the interruption.

    Args:
        kwargs: Arguments of `CheckpointHook`; `backend_args` for another place than a local disk.

    Raises:
        TypeError: If there is no such argument.
        CheckpointError: If a checkpoint could not be written, or its weights are not finite.
    """

    def __init__(self, **kwargs):
        super().__init__(**{'backend_args': dict(backend=BACKEND), **kwargs})
        # MMEngine passes them on to `Runner.save_checkpoint`, which refuses them at the first one
        unknown = sorted(self.args.keys() - signature(Runner.save_checkpoint).parameters)
        if unknown:
            raise TypeError(f'{", ".join(unknown)}: no argument of {type(self).__name__}')
        self._position: dict[str, int] = {}

    def before_train(self, runner: Runner) -> None:
        """Defers removals."""
        super().before_train(runner)
        self.file_backend = DeferredRemoval(self.file_backend)
        if self.save_best:
            self._find_best_here()
            self._remove_stale_best(runner)
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        length = self.interval * (len(runner.train_dataloader) if self.by_epoch else 1)
        if length % counts:
            runner.logger.warning(
                f'checkpoints every {length} iterations hold no gradients, but gradients are '
                f'accumulated over {counts}: to resume exactly, make one a multiple of the other'
            )
        if runner._resume and _validation_is_due(runner):
            runner.logger.info('the checkpoint was written before its validation, which comes now')
            runner.val_loop.run()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses weights that are not finite, and corrects the position in the training."""
        checkpoint.get('meta', {}).update(self._position)
        for name, value in checkpoint.get('state_dict', {}).items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise CheckpointError(
                    f'{name} is not finite after iteration {runner.iter + 1}: no checkpoint is '
                    'written; resume from the one before with a lower learning rate, '
                    'optim_wrapper.clip_grad, or without --amp'
                )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        # MMEngine's FlexibleRunner counts one too many after a validation.
        self._position = {'epoch' if self.by_epoch else 'iter': step}
        super()._save_checkpoint_with_step(runner, step, meta)
        self._position = {}
        self._remove_obsolete()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        super()._save_best_checkpoint(runner, metrics)
        if self.save_best:  # otherwise validation may run without a training
            self._remove_obsolete()
            self._remove_stale_best(runner)

    def _best_paths(self) -> dict[str, str | None]:
        """Returns metric -> path of its best checkpoint, which MMEngine keeps in two places."""
        if len(self.key_indicators) == 1:
            return {self.key_indicators[0]: self.best_ckpt_path}
        return self.best_ckpt_path_dict

    def _find_best_here(self) -> None:
        """Looks for recorded best checkpoints in this work dir.

        A training that resumes in another one, or in a copy, must not remove those of the first.
        """
        found = {}
        for metric, path in self._best_paths().items():
            here = os.path.join(self.out_dir, os.path.basename(path or ''))
            found[metric] = here if path and self.file_backend.isfile(here) else None
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = found.values()
        else:
            self.best_ckpt_path_dict = found

    def _remove_stale_best(self, runner: Runner) -> None:
        """Removes best checkpoints beside the recorded one, which a killed training left behind.

        Those of later steps stay: the training may have been resumed from an earlier one.
        """
        step = dict(iter=runner.iter, epoch=runner.epoch)
        for metric, best in self._best_paths().items() if is_main_process() else ():
            metric = re.escape(metric.replace('/', '_'))
            name = re.compile(rf'best_{metric}_(iter|epoch)_(\d+)\.pth')
            for path in Path(self.out_dir).glob('best_*.pth') if best else ():
                match = name.fullmatch(path.name)
                if match and int(match[2]) <= step[match[1]] and path != Path(best):
                    path.unlink()

    def _remove_obsolete(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        self.file_backend.remove_collected(
            keep={self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best}
        )


def _validation_is_due(runner: Runner) -> bool:
    """Returns whether MMEngine's loop validates after the step that a training is resumed at."""
    loop = runner.train_loop
    if runner.val_loop is None or loop.iter == 0:
        return False
    step, last = loop.iter, loop.max_iters
    if not isinstance(loop, IterBasedTrainLoop):
        if loop.iter != loop.epoch * len(loop.dataloader):  # in the middle of an epoch
            return False
        step, last = loop.epoch, loop.max_epochs
    loop._decide_current_val_interval()
    return step >= loop.val_begin and (step % loop.val_interval == 0 or step == last)
