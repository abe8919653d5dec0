"""Shares of a list among processes."""

import pytest
import torch

from mmdiffdis.apis.shards import Shard, find_shard, local_gpu

ARRAY = {'SLURM_ARRAY_TASK_ID': '7', 'SLURM_ARRAY_TASK_COUNT': '3'}
TO_EIGHT = {**ARRAY, 'SLURM_ARRAY_TASK_MIN': '4', 'SLURM_ARRAY_TASK_STEP': '2'}
TORCHRUN = {'RANK': '1', 'WORLD_SIZE': '2'}
SRUN = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '4'}
STEP = {'SLURM_JOB_ID': '99', 'SLURM_STEP_ID': '0'}


@pytest.mark.parametrize(
    ('option', 'environment', 'expected'),
    [
        (None, {}, '1/1'),
        ('2/4', {}, '2/4'),
        ('2/4', {**TORCHRUN, **SRUN}, '2/4'),
        (None, TORCHRUN, '2/2'),
        (None, SRUN, '4/4'),
        (None, {**SRUN, **STEP}, '4/4'),
        (None, {**SRUN, 'SLURM_PROCID': '0', 'SLURM_JOB_ID': '99'}, '1/1'),  # the script of sbatch
        (None, {**TORCHRUN, **SRUN}, '2/2'),
        (None, {**ARRAY, 'SLURM_ARRAY_TASK_ID': '2'}, '3/3'),
        (None, TO_EIGHT, '2/3'),  # --array=4-8:2
        (None, {**TO_EIGHT, **TORCHRUN}, '4/6'),
        (None, {**TO_EIGHT, **SRUN}, '8/12'),
    ],
)
def test_share_of_a_process(option, environment, expected):
    shard = find_shard(option, environment)
    assert str(shard) == expected
    assert all(name in shard.origin for name in ('RANK', 'WORLD_SIZE')) == (
        'RANK' in environment and option is None
    )


def test_shares_of_a_launcher_are_the_whole():
    shares = []
    for task in '468':
        for rank in '01':
            names = {'SLURM_ARRAY_TASK_ID': task, 'RANK': rank}
            shares += find_shard(None, {**TO_EIGHT, **TORCHRUN, **names}).of(range(20))
    assert sorted(shares) == [*range(20)]


@pytest.mark.parametrize(
    ('option', 'environment', 'message'),
    [
        ('0/4', {}, "--shard '0/4': expected i/n with i from 1 to n, e.g. 2/4"),
        ('5/4', {}, '5/4'),
        ('2', {}, "'2'"),
        ('a/b', {}, 'a/b'),
        (None, ARRAY, 'ID=7 and SLURM_ARRAY_TASK_COUNT=3: expected numbers without gaps'),
        (None, {'SLURM_ARRAY_TASK_ID': '7'}, 'SLURM_ARRAY_TASK_COUNT=None'),
        (None, {'RANK': 'x', 'WORLD_SIZE': '2'}, 'RANK=x'),
        (None, {'RANK': '2', 'WORLD_SIZE': '2'}, 'RANK=2 and WORLD_SIZE=2.*--shard i/n precedes'),
    ],
)
def test_what_is_no_share_is_refused(option, environment, message):
    with pytest.raises(ValueError, match=message):
        find_shard(option, environment)


def test_processes_of_a_machine_take_different_gpus(monkeypatch):
    assert local_gpu({'LOCAL_RANK': '1'}) is None or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert local_gpu({}) is None
    assert local_gpu({'LOCAL_RANK': '1', 'SLURM_LOCALID': '0'}) == 'cuda:1'
    assert local_gpu({'SLURM_LOCALID': '4'}) == 'cuda:0'


def test_share_without_items_is_empty():
    assert Shard(2, 3).of('ab') == []
