"""Shares of a list of inputs among processes, as their launcher counts them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar('T')
_LONGEST_WAIT = timedelta(days=30)  # for the slowest of the processes


@dataclass(frozen=True)
class Shard:
    """One of several equal shares of a list.

    Attributes:
        index: Its number, from 0.
        count: Number of shares.
        origin: Where the two come from, for messages.
    """

    index: int = 0
    count: int = 1
    origin: str = ''

    def of(self, items: Sequence[T]) -> list[T]:
        """Returns the items of this share: one of every `count`.

        Example:
            >>> Shard(1, 3).of('abcdefg')
            ['b', 'e']
        """
        return list(items[self.index :: self.count])

    def __str__(self) -> str:
        return f'{self.index + 1}/{self.count}'


def find_shard(option: str | None = None, environment: Mapping[str, str] = os.environ) -> Shard:
    """Returns the share of this process.

    The option precedes the launchers. A task of a Slurm array has a share of the whole; each
    process that torchrun or srun starts has a share of that. torchrun precedes srun, which may have
    started it.

    Args:
        option: 'i/n' with i from 1, or None.
        environment: Variables of the environment.

    Raises:
        ValueError: If the option is no share, or if the environment counts in another way.
    """
    if option is not None:
        index, _, count = option.partition('/')
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"--shard '{option}': expected i/n with i from 1 to n, e.g. 2/4")
        return Shard(int(index) - 1, int(count), '--shard, which precedes launchers')
    levels = []  # index, count and their names, from the outside inwards
    if 'SLURM_ARRAY_TASK_ID' in environment:
        levels.append(_level(environment, 'SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_COUNT'))
    if {'RANK', 'WORLD_SIZE'} <= environment.keys():
        levels.append(_level(environment, 'RANK', 'WORLD_SIZE'))
    elif {'SLURM_PROCID', 'SLURM_NTASKS'} <= environment.keys() and _is_step(environment):
        levels.append(_level(environment, 'SLURM_PROCID', 'SLURM_NTASKS'))
    index, count = 0, 1
    for level_index, level_count, _ in levels:
        index, count = index * level_count + level_index, count * level_count
    return Shard(index, count, ' and '.join(names for *_, names in levels))


def _is_step(environment: Mapping[str, str]) -> bool:
    """Returns whether srun has started this process.

    sbatch sets the number of tasks for its script as well, which is one process.
    """
    return 'SLURM_JOB_ID' not in environment or 'SLURM_STEP_ID' in environment


def _level(environment: Mapping[str, str], name: str, count_name: str) -> tuple[int, int, str]:
    try:
        index, count = int(environment[name]), int(environment[count_name])
        if name == 'SLURM_ARRAY_TASK_ID':  # of --array=MIN-MAX:STEP
            index -= int(environment.get('SLURM_ARRAY_TASK_MIN', 0))
            index //= int(environment.get('SLURM_ARRAY_TASK_STEP', 1))
        if not 0 <= index < count:
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(
            f'{name}={environment[name]} and {count_name}={environment.get(count_name)}: expected '
            'numbers without gaps, the first below the second (--array=0-9, not 1,5,7); --shard '
            'i/n precedes them'
        ) from None
    return index, count, f'{name} and {count_name}'


def report_together(report: Callable[[], None]) -> None:
    """Reports at once, or by the first process of torchrun when all have come here.

    torchrun ends all of them as soon as one fails, as one does that has skipped a file.
    """
    if not dist.is_torchelastic_launched():
        return report()
    dist.init_process_group('gloo', timeout=_LONGEST_WAIT)
    dist.barrier()
    if dist.get_rank() == 0:
        report()
    dist.barrier()
    dist.destroy_process_group()


def local_gpu(environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns the GPU of this process among those of its machine, or None without a launcher."""
    number = environment.get('LOCAL_RANK', environment.get('SLURM_LOCALID'))
    gpus = torch.cuda.device_count()
    return f'cuda:{int(number) % gpus}' if number and gpus else None
