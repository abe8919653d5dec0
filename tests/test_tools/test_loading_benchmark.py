"""tools/benchmarks/loading.py: both recipes give the same images."""

import json

import cv2
import numpy as np
import pytest
import torch
from conftest import load_tool

tool = load_tool('benchmarks/loading.py')


@pytest.fixture(autouse=True)
def _threads_as_before():
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.slow
def test_both_recipes_give_the_same(tmp_path, capsys):
    out = tmp_path / 'new' / 'results.json'
    tool.main(
        ['--widths', '768', '--images', '1', '--draws', '5', '--repeats', '1', '--out', str(out)]
    )
    written = json.loads(out.read_text())
    assert set(written) == {'768x512 JPEG', '768x512 PNG'}
    for result in written.values():
        assert result['draws'] == 5 and result['rotated'] == 1
        released, ours = (result['mean_and_std'][name] for name in ('released', 'ours'))
        for kind, mean_bound, pixel_bound in (
            ('image', 1, 2),
            ('mask', 0.1, 0.4),
            ('edge', 0.2, 0.8),
        ):
            np.testing.assert_allclose(released[kind], ours[kind], atol=mean_bound)
            assert result['mean_difference'][kind] < pixel_bound
        speed = result['images_per_second']
        assert result['ratio'] == pytest.approx(speed['ours'] / speed['released'])
    table = capsys.readouterr().out
    assert '768x512 PNG' in table and f'{written["768x512 PNG"]["ratio"]:.2f}' in table


def test_augmentations_vary_and_repeat():
    augmentations = [tool.draw_augmentation(seed) for seed in range(40)]
    assert augmentations == [tool.draw_augmentation(seed) for seed in range(40)]
    assert {augmentation.mirror for augmentation in augmentations} == {True, False}
    assert 2 <= sum(augmentation.angle is not None for augmentation in augmentations) <= 16


def test_one_draw_in_five_rotates():
    seeds = tool.choose_seeds(15)
    assert len({*seeds}) == 15
    assert sum(tool.draw_augmentation(seed).angle is not None for seed in seeds) == 3
