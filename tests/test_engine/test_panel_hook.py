"""Panels of validations and tests."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmdiffdis.engine import DISPanelHook


class Visualizer:
    """Records the images that are added."""

    def __init__(self) -> None:
        self.added = []

    def add_image(self, name, image, step) -> None:
        self.added.append((name, image.shape, step))


@pytest.fixture
def runner(tmp_path) -> SimpleNamespace:
    """The attributes of a Runner that the hook uses."""
    return SimpleNamespace(
        work_dir=str(tmp_path / 'work'),
        visualizer=Visualizer(),
        log_processor=SimpleNamespace(by_epoch=True),
        epoch=3,
        iter=120,
    )


def predicted(path: Path, **meta) -> SegDataSample:
    return SegDataSample(
        seg_logits=PixelData(data=torch.rand(1, 40, 56)),
        gt_alpha=PixelData(data=torch.rand(1, 40, 56)),
        metainfo={'img_path': str(path), **meta},
    )


@pytest.fixture
def image(tmp_path, draw_pair) -> Path:
    """An image file."""
    path = tmp_path / 'a #1.jpg'
    Image.fromarray(draw_pair()[0]).save(path)
    return path


def saved(runner: SimpleNamespace) -> list[str]:
    root = Path(runner.work_dir) / 'panels'
    return sorted(str(path.relative_to(root)) for path in root.rglob('*.jpg'))


def test_first_images_of_each_validation(runner, image):
    hook = DISPanelHook(num_images=2, max_side=64)
    hook.before_train(runner)
    for epoch in (3, 4):
        runner.epoch = epoch
        hook.before_val_epoch(runner)
        for index in range(4):
            sample = predicted(image, stem=f's{index}')
            hook.after_val_iter(runner, index, None, [sample])
    assert saved(runner) == [f'epoch_{e}/s{i}.jpg' for e in (3, 4) for i in (0, 1)]
    assert [name for name, _, _ in runner.visualizer.added] == ['val_s0', 'val_s1'] * 2
    assert runner.visualizer.added[0][2] == 120


def test_every_kth_image_and_batches(runner, image):
    hook = DISPanelHook(num_images=2, interval=3, max_side=64)
    hook.before_test_epoch(runner)
    samples = [predicted(image, stem=f's{index}') for index in range(8)]
    hook.after_test_iter(runner, 0, None, samples[:5])
    hook.after_test_iter(runner, 1, None, samples[5:])
    assert saved(runner) == ['test/s0.jpg', 'test/s3.jpg']


def test_iteration_based_training_names_folders_by_iteration(runner, image):
    runner.log_processor.by_epoch = False
    hook = DISPanelHook(max_side=64)
    hook.before_train(runner)
    hook.after_val_iter(runner, 0, None, [predicted(image, stem='s')])
    assert saved(runner) == ['iter_120/s.jpg']


def test_validation_without_training_does_not_ask_for_its_progress(runner, image):
    """Runner builds the training set when it is asked for its iteration."""
    del runner.epoch, runner.iter
    hook = DISPanelHook(max_side=64)
    hook.after_val_iter(runner, 0, None, [predicted(image, stem='s')])
    hook.after_test_iter(runner, 0, None, [predicted(image, stem='s')])
    assert saved(runner)[-1] == 'val/s.jpg' and saved(runner)[0].startswith('test/')


def test_same_stem_in_two_subsets_keeps_both(runner, image):
    hook = DISPanelHook(max_side=64)
    hook.before_test_epoch(runner)
    for subset in ('DIS-TE1', 'DIS-TE2'):
        hook.after_test_iter(runner, 0, None, [predicted(image, stem='s', subset=subset)])
    assert saved(runner) == ['test/DIS-TE2_s.jpg', 'test/s.jpg']


def test_second_test_replaces_the_panels_of_the_first(runner, image):
    for _ in range(2):
        hook = DISPanelHook(max_side=64)
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, None, [predicted(image, stem='s', subset='DIS-VD')])
    assert saved(runner) == ['test/s.jpg']


def test_stock_samples_are_named_after_their_file(runner, image):
    DISPanelHook(max_side=64).after_test_iter(runner, 0, None, [predicted(image)])
    assert saved(runner) == ['test/a #1.jpg']


def test_panel_shows_image_ground_truth_and_mask(runner, image):
    DISPanelHook(max_side=64).after_test_iter(runner, 0, None, [predicted(image)])
    width = Image.open(Path(runner.work_dir) / 'panels' / 'test' / 'a #1.jpg').width
    assert width == 3 * 64 + 2 * 6


@pytest.mark.parametrize('content', [None, b'', b'damaged'])
def test_missing_or_damaged_image_does_not_stop_the_run(runner, tmp_path, content):
    path = tmp_path / 'gone.jpg'
    if content is not None:
        path.write_bytes(content)
    DISPanelHook(max_side=64).after_test_iter(runner, 0, None, [predicted(path)])
    width = Image.open(Path(runner.work_dir) / 'panels' / 'test' / 'gone.jpg').width
    assert width == 2 * 64 + 6  # ground truth and mask remain


def test_settings_below_one_are_refused():
    with pytest.raises(ValueError, match='num_images=0, interval=1: expected at least 1 each'):
        DISPanelHook(num_images=0)
