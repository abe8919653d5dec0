"""Checkpoints that an interruption or a full disk cannot damage."""

import os
import re
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..checkpoints import CheckpointError
from ..utils.files import whole_or_nothing

BACKEND = 'whole_files'


class WholeFilesBackend(LocalBackend):
    """MMEngine's files on a local disk, each written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes a file, in the place of one that may be there.

        Raises:
            CheckpointError: It could not be written; what was there is as it was.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole_or_nothing(path) as unfinished, unfinished.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the contents
        except OSError as error:
            raise CheckpointError(
                f'checkpoint {path} ({len(obj)} bytes) was not written: {error.strerror}. The ones '
                'before it are whole: make room, or choose another --work-dir, and --resume.'
            ) from error


register_backend(BACKEND, WholeFilesBackend, force=True)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's `CheckpointHook`, for trainings that may be killed at any moment.

    A checkpoint is written whole or not at all; what it makes obsolete is removed after that, not
    before; weights that are not finite are not written. There must be room for one checkpoint more
    than are kept.

    Args:
        kwargs: of `CheckpointHook`; `backend_args` for another place than a local disk.

    Raises:
        CheckpointError: A checkpoint could not be written, or its weights are not finite.
    """

    def __init__(self, **kwargs):
        super().__init__(**{'backend_args': dict(backend=BACKEND), **kwargs})
        self._obsolete: list[str] = []
        self._position: dict[str, int] = {}

    def before_train(self, runner: Runner) -> None:
        """Remove what a killed process had begun to write."""
        super().before_train(runner)
        # The methods of `CheckpointHook` remove the old before they write the new.
        self._remove, self.file_backend.remove = self.file_backend.remove, self._obsolete.append
        if is_main_process() and isinstance(self.file_backend, WholeFilesBackend):
            for path in Path(self.out_dir).glob('.*.pth'):
                if re.match(r'\.\d+\.', path.name):
                    path.unlink()
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        length = self.interval * (len(runner.train_dataloader) if self.by_epoch else 1)
        if length % counts:
            runner.logger.warning(
                f'A checkpoint every {length} iterations holds no gradients, but they are '
                f'accumulated over {counts}: to resume exactly, make one a multiple of the other.'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite; write down where the training stands."""
        checkpoint.get('meta', {}).update(self._position)
        for name, value in checkpoint.get('state_dict', {}).items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise CheckpointError(
                    f'{name} is not finite after iteration {runner.iter + 1}: no checkpoint is '
                    'written. Resume from the one before with a lower learning rate, '
                    'optim_wrapper.clip_grad, or without --amp.'
                )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        # MMEngine's FlexibleRunner counts one too many after a validation.
        self._position = {'epoch' if self.by_epoch else 'iter': step}
        super()._save_checkpoint_with_step(runner, step, meta)
        self._position = {}
        self._remove_obsolete()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self._remove_obsolete()

    def _remove_obsolete(self) -> None:
        best = getattr(self, 'best_ckpt_path_dict', {}).values()
        kept = {self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best}
        for path in self._obsolete:
            if path not in kept and self.file_backend.isfile(path):
                self._remove(path)
        self._obsolete.clear()
