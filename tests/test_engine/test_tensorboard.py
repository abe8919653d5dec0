"""Scalars and panels in TensorBoard's files, with a config that inherits `tensorboard.py`."""

from pathlib import Path

import pytest
from mmengine.config import Config
from small_training import STEMS, build_runner, small_config

ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip('tensorboard')


@pytest.mark.slow
def test_scalars_and_panels_are_in_tensorboard(tmp_path, write_set):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    inheriting = tmp_path / 'inheriting.py'
    inheriting.write_text(
        f"_base_ = ['{ROOT}/configs/_base_/default_runtime.py', "
        f"'{ROOT}/configs/_base_/tensorboard.py']\n"
        'visualizer = dict(vis_backends=_base_.vis_backends)\n'
    )
    write_set(tmp_path / 'set', 'DIS-TR', stems=STEMS)
    config = small_config(tmp_path, **{'train_cfg.max_iters': 2, 'train_cfg.val_begin': 1})
    config.visualizer = Config.fromfile(inheriting).visualizer
    config.default_hooks.logger = dict(type='LoggerHook', interval=1, log_metric_by_epoch=False)
    config.custom_hooks = [dict(type='DISPanelHook', num_images=2)]
    build_runner(config).train()

    (folder,) = tmp_path.glob('run/*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    assert len(events.Scalars('loss')) == 2
    assert [event.step for event in events.Scalars('maxF')] == [2]
    assert {'val_a', 'val_b'} <= {*events.Tags()['images']}
