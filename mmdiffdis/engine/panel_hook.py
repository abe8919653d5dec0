"""Hook that saves panels of validation and test images."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from PIL import Image

from ..images.panels import panel
from ..images.reading import read_rgb
from ..structures import foreground_probability, image_stem


@HOOKS.register_module()
class DISPanelHook(Hook):
    """Saves panels (image, ground truth, mask, edge) of some images of every validation and test.

    They go to `<work_dir>/panels/<epoch_N, iter_N, val or test>/<stem>.jpg` and, through the
    runner's visualizer, to its backends (TensorBoard and others).

    Args:
        num_images: Number of panels per validation or test.
        interval: Every `interval`-th image is shown.
        max_side: Longer side of each part of a panel, in pixels.

    Raises:
        ValueError: If `num_images` or `interval` is below 1.
    """

    def __init__(self, num_images: int = 8, interval: int = 1, max_side: int = 512) -> None:
        if num_images < 1 or interval < 1:
            raise ValueError(
                f'num_images={num_images}, interval={interval}: expected at least 1 each; leave '
                'the hook out to have no panels'
            )
        self.num_images = num_images
        self.interval = interval
        self.max_side = max_side
        self._is_training = False
        self._start()

    def before_train(self, runner: Runner) -> None:
        """Notes that validations are part of a training."""
        self._is_training = True

    def before_val_epoch(self, runner: Runner) -> None:
        """Restarts the count of images."""
        self._start()

    def before_test_epoch(self, runner: Runner) -> None:
        """Restarts the count of images."""
        self._start()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Saves the panels that are due, in a folder named after the progress of the training."""
        # outside of a training, runner.epoch and .iter would build the training set
        if not self._is_training:
            self._save_panels(runner, outputs, 'val', 'val', step=0)
            return
        by_epoch = runner.log_processor.by_epoch
        folder = f'epoch_{runner.epoch}' if by_epoch else f'iter_{runner.iter}'
        self._save_panels(runner, outputs, 'val', folder, step=runner.iter)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[SegDataSample] | None = None,
    ) -> None:
        """Saves the panels that are due."""
        self._save_panels(runner, outputs, 'test', 'test', step=0)

    def _start(self) -> None:
        self._seen = 0
        self._names: set[str] = set()

    @master_only
    def _save_panels(
        self, runner: Runner, samples: Sequence[SegDataSample], mode: str, folder: str, step: int
    ) -> None:
        for sample in samples:
            index, self._seen = self._seen, self._seen + 1
            if index % self.interval or index >= self.num_images * self.interval:
                continue
            image = draw_sample(sample, self.max_side)
            stem = image_stem(sample) or f'image_{index}'
            # two subsets may contain the same stem
            name = stem if stem not in self._names else f'{sample.get("subset", index)}_{stem}'
            self._names.add(name)
            path = Path(runner.work_dir) / 'panels' / folder / f'{name}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, quality=92)
            runner.visualizer.add_image(f'{mode}_{name}', image, step=step)


def draw_sample(sample: SegDataSample, max_side: int = 512) -> np.ndarray:
    """Returns the panel of a predicted sample, uint8 [H', W', 3] RGB, of the parts that it has.

    An image that can no longer be read is left out with a warning, so that the training goes on.
    """
    ground_truth = sample.get('gt_alpha', sample.get('gt_sem_seg'))
    edge = sample.get('pred_edge_map')
    try:
        image = read_rgb(sample.get('img_path', ''))
    except (OSError, ValueError) as error:
        print_log(f'panel without its image: {error}', logger='current', level=logging.WARNING)
        image = None
    return panel(
        image,
        None if ground_truth is None else ground_truth.data[0].float().cpu().numpy(),
        foreground_probability(sample).cpu().numpy(),
        None if edge is None else edge.data[0].float().cpu().numpy(),
        max_side=max_side,
    )
