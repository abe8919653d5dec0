"""Fixtures: a small set of images, and a small stock segmentor to train and test on it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image


@pytest.fixture(scope='session')
def draw_pair() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Returns a function that draws a bright ring on a dark ground.

    It returns an image, uint8 RGB [H, W, 3], and its soft mask, uint8 [H, W].
    """

    def draw(seed: int = 0, height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        mask = np.zeros((height, width), np.uint8)
        centre = (int(rng.integers(width // 3, 2 * width // 3)), height // 2)
        cv2.circle(mask, centre, height // 4, 255, thickness=5, lineType=cv2.LINE_AA)
        ground = rng.integers(0, 80, (height, width, 3))
        image = ground + (mask[..., None] / 255 * rng.integers(60, 170, 3))
        return image.astype(np.uint8), mask

    return draw


@pytest.fixture(scope='session')
def write_set(draw_pair: Callable) -> Callable[..., Path]:
    """Returns a function that writes `root/subset/{im,gt}/stem.{jpg,png}` and returns root."""

    def write(root: Path, subset: str = 'DIS-VD', stems: tuple[str, ...] = ('a', 'b', 'c')) -> Path:
        for folder in ('im', 'gt'):
            (root / subset / folder).mkdir(parents=True, exist_ok=True)
        for seed, stem in enumerate(stems):
            image, mask = draw_pair(seed)
            Image.fromarray(image).save(root / subset / 'im' / f'{stem}.jpg')
            Image.fromarray(mask).save(root / subset / 'gt' / f'{stem}.png')
        return root

    return write


STOCK_CONFIG = """
custom_imports = dict(imports=['mmdiffdis'], allow_failed_imports=False)
default_scope = 'mmseg'
norm = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[128.0] * 3, std=[64.0] * 3, bgr_to_rgb=True, size=(64, 64)
    ),
    backbone=dict(
        type='ResNetV1c', depth=18, base_channels=4, stem_channels=4, num_stages=4,
        strides=(1, 2, 2, 1), dilations=(1, 1, 1, 1), out_indices=(3,), norm_cfg=norm,
    ),
    decode_head=dict(
        type='FCNHead', in_channels=32, in_index=0, channels=4, num_convs=1, concat_input=False,
        dropout_ratio=0, num_classes=2, out_channels={channels}, threshold={threshold},
        norm_cfg=norm, align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid={channels} == 1),
    ),
    test_cfg=dict(mode='whole', seed=7),
)
train_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='DISRandomCenterCrop', max_border=6),
    dict(type='DISRandomRotate'),
    dict(type='DISColorJitter'),
    dict(type='DISResize', scale=(64, 64)),
    dict(type='PackDISInputs'),
]
test_pipeline = [
    dict(type='LoadDISImage'),
    dict(type='DISResize', scale=(64, 64)),
    dict(type='LoadDISAnnotations'),
    dict(type='GenerateDISEdge'),
    dict(type='PackDISInputs'),
]
tta_model = dict(type='DISTTAModel', min_max=True)
tta_pipeline = [
    dict(type='LoadDISImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='DISResize', scale=(side, side)) for side in (48, 64)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadDISAnnotations')],
            [dict(type='PackDISInputs')],
        ],
    ),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='DIS5KDataset', data_root={root!r}, subset='DIS-VD', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='DIS5KDataset', data_root={root!r}, subset='DIS-VD', pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='DISMetric')
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(checkpoint=dict(
    type='CheckpointHook', by_epoch=False, interval=2, save_best='maxF', rule='greater'
))
custom_hooks = [dict(type='DISPanelHook', num_images=2, max_side=96)]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


@pytest.fixture
def stock_config(tmp_path: Path, write_set: Callable) -> Callable[..., Path]:
    """Returns a function that writes a set and the config of a small FCN, and returns its path.

    The FCN has 1 or 2 output channels.
    """

    def write(channels: int = 2) -> Path:
        root = write_set(tmp_path / 'data', stems=('a', 'b #1', 'c.d'))
        threshold = 0.5 if channels == 1 else None
        settings = {'{channels}': channels, '{threshold}': threshold, '{root!r}': repr(str(root))}
        text = STOCK_CONFIG
        for name, value in settings.items():
            text = text.replace(name, str(value))
        path = tmp_path / f'fcn_{channels}.py'
        path.write_text(text)
        return path

    return write


@pytest.fixture
def stock_checkpoint(tmp_path: Path) -> Callable[[Path], Path]:
    """Returns a function that saves random weights for a config and returns their path."""

    def save(config: Path) -> Path:
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(config).model)
        path = tmp_path / f'{config.stem}.pth'
        torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
        return path

    return save
