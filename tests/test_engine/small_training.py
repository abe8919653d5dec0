"""Trainings of a tiny DiffDIS that take a second, in one process or several, with records."""

import os
import random
import types
from pathlib import Path

import numpy as np
import torch
from conftest import tiny_config
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmseg.registry import HOOKS, MODELS, OPTIM_WRAPPERS
from mmseg.visualization import SegLocalVisualizer

from mmdiffdis.engine import BroadcastBuffersHook
from mmdiffdis.engine.launcher import set_launcher
from mmdiffdis.models.data_preprocessor import DISDataPreProcessor

SIDE = 64
STEMS = ('a', 'b', 'c', 'd', 'e')
LOAD = [dict(type='LoadDISImage'), dict(type='LoadDISAnnotations'), dict(type='GenerateDISEdge')]
FINISH = [dict(type='DISResize', scale=(SIDE, SIDE)), dict(type='PackDISInputs')]
AUGMENT = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomCenterCrop', max_border=6),
    dict(type='DISRandomRotate'),
    dict(type='DISColorJitter'),
]
# As many levels as the model of the golden numbers, but narrower ones.
MODEL = tiny_config(
    vae=dict(block_out_channels=(8, 8, 8, 8), norm_num_groups=2),
    backbone=dict(
        block_out_channels=(16, 16, 16, 16),
        num_heads=(None, None, None, 2),
        cross_attention_dim=16,
        norm_num_groups=4,
    ),
)


def small_config(folder: Path, by_epoch: bool = False, workers: int = 0, **changes) -> Config:
    """Returns a config of eight steps with batches of two images, a checkpoint every two steps.

    Args:
        folder: Folder with the five images, `folder`/set/DIS-TR, and the work dir, `folder`/run.
        by_epoch: Whether to train in three epochs of two steps, with a checkpoint after each.
        workers: Workers of the training's loader.
        changes: Changes of the config, by their dotted keys.
    """
    data = dict(type='DIS5KDataset', data_root=str(folder / 'set'), subset='DIS-TR')
    loop = dict(type='IterBasedTrainLoop', max_iters=8, val_begin=100)
    if by_epoch:
        loop = dict(type='EpochBasedTrainLoop', max_epochs=3, val_begin=100)
    config = Config(
        dict(
            custom_imports=dict(imports=['mmdiffdis']),
            default_scope='mmseg',
            work_dir=str(folder / 'run'),
            model=MODEL,
            train_dataloader=dict(
                batch_size=2,
                num_workers=workers,
                drop_last=True,  # a batch of one image has no statistics
                persistent_workers=workers > 0,
                sampler=dict(type='SeededSampler'),
                dataset=dict(**data, pipeline=[*LOAD, *AUGMENT, *FINISH]),
            ),
            val_dataloader=dict(
                batch_size=1,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    **data, pipeline=[LOAD[0], FINISH[0], LOAD[1], FINISH[1]], test_mode=True
                ),
            ),
            train_cfg=loop,
            val_cfg=dict(type='ValLoop'),
            val_evaluator=dict(type='DISMetric'),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-3),
                clip_grad=dict(max_norm=1.0),
            ),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False),
                dict(type='CosineAnnealingLR', begin=3, end=8, by_epoch=False),
            ],
            default_hooks=dict(
                checkpoint=dict(
                    type='WholeCheckpointHook',
                    by_epoch=by_epoch,
                    interval=1 if by_epoch else 2,
                    max_keep_ckpts=2,
                ),
                buffers=dict(type='BroadcastBuffersHook'),
                random_streams=dict(type='RandomStreamsHook'),
                finite_loss=dict(type='FiniteLossHook'),
                run_record=dict(type='RunRecordHook'),
            ),
            custom_hooks=[dict(type='EMAHook')],
            log_processor=dict(by_epoch=by_epoch),
            randomness=dict(seed=0, diff_rank_seed=True),
        )
    )
    config.merge_from_dict(changes)
    return config


def build_runner(config: Config) -> Runner:
    """Builds a runner beside others in one process."""
    for manager in (DefaultScope, MessageHub, MMLogger, Visualizer, SegLocalVisualizer):
        manager._instance_dict.clear()  # instances are named after the time in seconds
    return RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)


@MODELS.register_module(force=True)
class SameNoise:
    """The same noise for every image of every batch."""

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(like.shape[1:], generator=generator).expand_as(like)


@OPTIM_WRAPPERS.register_module(force=True)
class RecordingOptimWrapper(OptimWrapper):
    """Records the gradients of each step."""

    def step(self, **kwargs) -> None:
        grads = [
            p.grad.flatten() for g in self.param_groups for p in g['params'] if p.requires_grad
        ]
        self.record = [*getattr(self, 'record', []), torch.cat(grads)]
        super().step(**kwargs)


@HOOKS.register_module(force=True)
class RecordHook(Hook):
    """Records losses, images and a number of each generator in every step.

    BatchNorm is frozen, because CPUs have no BatchNorm with the statistics of the global batch.
    """

    def __init__(self):
        self.losses, self.images, self.numbers = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        samples = zip(data_batch['data_samples'], data_batch['inputs'], strict=True)
        self.images.append([(sample.stem, image.clone()) for sample, image in samples])
        self.numbers.append((random.random(), np.random.rand(), float(torch.rand(()))))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(float(outputs['loss'].detach()))


def record_training(config: Config) -> dict:
    """Returns the record of a training with `RecordHook`, and the metrics before it."""
    runner = build_runner(config)
    metrics = runner.val()
    runner.train()
    (record,) = (hook for hook in runner.hooks if isinstance(hook, RecordHook))
    return dict(vars(record), metrics=metrics, grads=runner.optim_wrapper.record)


def record_in_process(rank: int, processes: int, port: int, folder: Path, config: Config) -> None:
    """Trains in one of several processes; saves its record, mixed values and validated buffers."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    os.chdir(folder)  # where MMEngine gathers results
    set_launcher(config, 'pytorch')
    record = record_training(config)
    batch = [torch.full((3, 8, 8), 10 * rank + i, dtype=torch.uint8) for i in range(4)]
    mixed = DISDataPreProcessor(cutmix=dict(prob=1)).forward(
        dict(inputs=batch, data_samples=[{} for _ in batch]), training=True
    )
    record['mixed'] = ((mixed['inputs'] + 1) / 2 * 255).round().unique().tolist()
    runner = types.SimpleNamespace(model=torch.nn.BatchNorm2d(1))
    runner.model.running_mean.fill_(rank)
    BroadcastBuffersHook().before_val_epoch(runner)
    record['running_mean'] = float(runner.model.running_mean)
    torch.save(record, folder / f'record_{rank}.pth')
    torch.distributed.destroy_process_group()
