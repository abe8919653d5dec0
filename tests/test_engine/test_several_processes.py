"""Two processes on the CPU train and score like one with the same global batch."""

import os

import pytest
import torch
from small_training import STEMS, record_in_process, record_training, small_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def records(tmp_path_factory, request):
    """Records of one process with batches of four, and of two processes with batches of two."""
    folder = tmp_path_factory.mktemp('processes')
    request.getfixturevalue('write_set')(folder / 'set', 'DIS-TR', stems=STEMS)

    def config(name: str, batch_size: int, workers: int):
        return small_config(
            folder,
            workers=workers,
            **{
                'work_dir': str(folder / name),
                'model.noise': dict(_delete_=True, type='SameNoise'),
                'model.data_preprocessor.cutmix': None,
                'train_dataloader.batch_size': batch_size,
                'train_cfg.max_iters': 3,
                'optim_wrapper': dict(
                    _delete_=True,
                    type='RecordingOptimWrapper',
                    optimizer=dict(type='SGD', lr=1e-3),
                ),
                'custom_hooks': [dict(type='RecordHook')],
            },
        )

    port = 20000 + os.getpid() % 20000
    arguments = (2, port, folder, config('two', 2, workers=1))
    torch.multiprocessing.spawn(record_in_process, arguments, nprocs=2)
    two = [torch.load(folder / f'record_{rank}.pth', weights_only=False) for rank in range(2)]
    return record_training(config('one', 4, workers=0)), *two


def test_losses_are_those_of_one_process(records):
    one, *two = (torch.tensor(record['losses'], dtype=torch.float64) for record in records)
    torch.testing.assert_close(torch.stack(two).mean(0), one, rtol=1e-6, atol=0)
    assert len(set(one.tolist())) == 3


def test_gradients_are_those_of_one_process(records):
    one, *two = (torch.stack(record['grads']) for record in records)
    assert torch.equal(*two)
    assert torch.linalg.vector_norm(two[0] - one) < 1e-6 * torch.linalg.vector_norm(one)


def test_images_are_those_of_one_process(records):
    """Order and augmentations do not depend on the number of processes and workers."""
    one, *two = (record['images'] for record in records)
    for whole, first, second in zip(one, *two, strict=True):
        shared = [first[0], second[0], first[1], second[1]]
        for (stem, image), (expected_stem, expected) in zip(shared, whole, strict=True):
            assert stem == expected_stem and torch.equal(image, expected)
    stems = [stem for batch in one for stem, _ in batch]
    assert sorted(stems[:5]) == sorted(stems[5:10]) == [*STEMS]


def test_images_are_augmented_differently_each_time(records):
    images = [image for batch in records[0]['images'] for stem, image in batch if stem == 'a']
    assert len(images) > 1 and not torch.equal(*images[:2])


def test_random_numbers_differ_by_process_and_repeat_by_seed(records):
    one, *two = (record['numbers'] for record in records)
    assert two[0] == one
    assert len({number for numbers in (one, two[1]) for step in numbers for number in step}) == 18


def test_validation_of_an_uneven_set_is_that_of_one_process(records):
    """One of the five images is scored by both processes, and must count once."""
    one, *two = (record['metrics'] for record in records)
    assert one == two[0] == two[1]
    assert 0 < one['maxF'] < 1


def test_cutmix_mixes_within_a_process(records):
    for rank, record in enumerate(records[1:]):
        assert {*record['mixed']} == {10.0 * rank + i for i in range(4)}


def test_buffers_are_those_of_the_first_process(records):
    assert [record['running_mean'] for record in records[1:]] == [0, 0]
