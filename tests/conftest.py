"""Shared fixtures: a tiny DiffDIS, synthetic samples, golden numbers of the release."""

import importlib.util
import json
import os
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import mmdiffdis  # noqa: F401, isort: skip - mends and registers before mmseg is imported

from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from stable_diffusion_folder import (  # noqa: F401, fixtures
    _stable_diffusion,
    predict_v,
    stable_diffusion,
)
from stock_segmentor import (  # noqa: F401, fixtures
    draw_pair,
    stock_checkpoint,
    stock_config,
    write_set,
)

from mmdiffdis.apis.precision import float32_products

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / 'data'
sys.path.insert(0, str(ROOT))

# Device of the comparisons with golden numbers, e.g. 'cuda', whose float32 is then that of IEEE.
DEVICE = os.environ.get('MMDIFFDIS_TEST_DEVICE', 'cpu')
if DEVICE != 'cpu':
    _ieee = float32_products(tf32=False)  # ends when it is freed
    _ieee.__enter__()

if 'PYTEST_XDIST_WORKER' in os.environ:  # as many processes as cores: one thread each
    os.environ['OMP_NUM_THREADS'] = '1'  # of processes that tests start
    torch.set_num_threads(1)


# Files that take longest. They come first, so that no process ends long after the others.
LONGEST = (
    'test_demo.py',
    'test_inference.py',
    'test_build.py',
    'test_interruption.py',
    'test_contract.py',
    'test_benchmark.py',
    'test_predict_tool.py',
    'test_flops.py',
    'test_train.py',
    'test_autoencoder.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def _mmseg_scope():
    init_default_scope('mmseg')


def load_tool(path: str) -> ModuleType:
    """A command below tools/, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / 'tools' / path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def tiny_config(**changes) -> dict:
    """DiffDIS at the width of the golden numbers: levels of 32, 64, 96 and 96 channels."""
    config = dict(
        type='DiffusionSegmentor',
        data_preprocessor=dict(type='DISDataPreProcessor', cutmix=dict(prob=0.5)),
        vae=dict(
            type='LatentAutoencoder',
            block_out_channels=(16, 32, 32, 32),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=8,
        ),
        noise=dict(type='PyramidNoise'),
        scheduler=dict(type='OneStepScheduler'),
        backbone=dict(
            type='SDTurboUNet',
            block_out_channels=(32, 64, 96, 96),
            num_heads=(2, 4, 6, 6),
            layers_per_block=1,
            cross_attention_dim=48,
            norm_num_groups=16,
            bde=dict(type='BatchDiscriminativeEmbedding'),
            swci=dict(type='ScaleWiseConditionalInjection'),
        ),
        neck=dict(type='DBIANeck'),
        decode_head=dict(type='VAEDecodeHead'),
    )
    for key, change in changes.items():
        merged = isinstance(change, dict) and isinstance(config.get(key), dict)
        config[key] = {**config[key], **change} if merged else change
    return config


_TRAINING_CONFIG = """
custom_imports = dict(imports=['mmdiffdis'])
default_scope = 'mmseg'
model = {model}
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='DIS5KDataset',
        data_root='set',
        subset='DIS-TR',
        pipeline=[
            dict(type='LoadDISImage'),
            dict(type='LoadDISAnnotations'),
            dict(type='GenerateDISEdge'),
            dict(type='RandomFlip', prob={flip}),
            dict(type='DISResize', scale=(64, 64)),
            dict(type='PackDISInputs'),
        ],
    ),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters={max_iters})
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval={max_iters}))
"""


def training_config(model: dict, max_iters: int, flip: float = 0.0) -> str:
    """The text of a config that trains `model` on ./set/DIS-TR, too slowly to change a weight."""
    return _TRAINING_CONFIG.format(model=model, max_iters=max_iters, flip=flip)


@pytest.fixture
def tiny():
    """Builds the tiny DiffDIS; keyword arguments change its config."""

    def build(**changes):
        torch.manual_seed(0)
        return MODELS.build(tiny_config(**changes))

    return build


def draw_samples(size: int = 2, side: int = 64, **metainfo) -> list[SegDataSample]:
    """Samples with a rectangle as mask and its outline as edge."""
    samples = []
    for i in range(size):
        alpha = torch.zeros(1, side, side)
        alpha[:, 10 + i : side - 12, 14 : side - 8 - i] = 1
        edge = torch.zeros_like(alpha)
        edge[:, 10 + i, 14 : side - 8 - i] = 1
        sample = SegDataSample(
            metainfo=dict(img_path=f'a/{i}#x y.jpg', ori_shape=(side, side)) | metainfo
        )
        sample.set_data(
            dict(
                gt_alpha=PixelData(data=alpha),
                gt_edge_map=PixelData(data=edge),
                gt_sem_seg=PixelData(data=alpha.long()),
            )
        )
        samples.append(sample)
    return samples


def load_keys(name: str) -> dict[str, list[int]]:
    """Key -> shape of a checkpoint of the released implementation."""
    return json.loads((DATA / name).read_text())


def normal(seed: int, shape) -> torch.Tensor:
    """Standard normal numbers of numpy's frozen legacy stream, float32."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))


def weights_by_name(shapes: dict[str, list[int]], seed: int) -> dict[str, torch.Tensor]:
    """Weights that depend on their names, shapes and the seed alone; the golden numbers' rule."""
    weights = {}
    for name, shape in shapes.items():
        if name.endswith('num_batches_tracked'):
            weights[name] = torch.zeros((), dtype=torch.int64)
            continue
        x = normal((zlib.crc32(name.encode()) + seed) % 2**32, tuple(shape))
        if name.endswith('running_var'):
            x = 1 + 0.1 * x.abs()
        elif name.endswith('running_mean'):
            x = 0.1 * x
        elif len(shape) >= 2:
            x = x / float(np.sqrt(np.prod(shape[1:])))
        elif name.endswith('weight'):
            x = 1 + 0.1 * x
        else:
            x = 0.05 * x
        weights[name] = x
    return weights


def released_weights(seed: int) -> tuple[dict, dict, torch.Tensor]:
    """The golden numbers' U-Net, VAE (in diffusers' names) and prompt [1, 2, 48]."""
    return (
        weights_by_name(load_keys('diffdis_unet_keys.json'), seed),
        weights_by_name(load_keys('diffdis_vae_keys.json'), seed + 1),
        normal(seed + 2, (1, 2, 48)),
    )


@torch.no_grad()
def golden_outputs(model, seed: int, images: int, side: int) -> dict[str, torch.Tensor]:
    """Returns a model's outputs for the golden numbers' image and noise, by name."""
    device = model.prompt.device
    image = torch.tanh(normal(seed + 3, (images, 3, side, side))).to(device)
    latents = model.encode_image(image)
    noise = normal(seed + 4, latents[0].shape).repeat(2, 1, 1, 1).to(device)
    eps = torch.cat(model.unet(noise, latents, torch.full((len(noise),), 999, device=device)))
    clean = model.scheduler.to_clean(noise, eps, 999)
    return dict(
        rgb_latent=latents[0],
        rgb_latent_8=latents[3],
        eps=eps,
        x0=clean,
        decoded=model.decode_head(clean, model.vae),
    )


def relative_error(result: torch.Tensor, golden: np.ndarray) -> float:
    """Norm of the difference over norm of the golden number."""
    return float(np.linalg.norm(result.cpu().numpy() - golden) / np.linalg.norm(golden))
