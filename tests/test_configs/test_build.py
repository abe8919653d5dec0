"""Every config builds, and the full-size model runs."""

import gc
import os
from pathlib import Path

import pytest
import torch
from conftest import ROOT, draw_samples
from mmengine.config import Config
from mmseg.registry import DATASETS, METRICS, MODELS, TRANSFORMS

from mmdiffdis.apis.flops import build_on_meta

CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.relative_to(ROOT).parts
)
FULL_SIZE = 'configs/diffdis/diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'


def load(path) -> Config:
    return Config.fromfile(ROOT / path)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_builds(path):
    config = load(path)
    model = build_on_meta(config.model)
    assert any(True for _ in model.parameters())
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for transform in config.get(loader, {}).get('dataset', {}).get('pipeline', []):
            TRANSFORMS.build(transform)
    for evaluator in ('val_evaluator', 'test_evaluator'):
        METRICS.build(config[evaluator])
    assert config.default_scope == 'mmseg' and config.custom_imports.imports == ['mmdiffdis']


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_resumed_training_is_exact(path):
    """MMEngine's samplers cannot be entered at a position: resuming would repeat samples."""
    config = load(path)
    sampler = config.train_dataloader.sampler
    assert sampler.type == 'SeededSampler'
    assert sampler.get('endless', False) == (config.train_cfg.type == 'IterBasedTrainLoop')
    assert 'RandomStreamsHook' in [hook.type for hook in config.default_hooks.values() if hook]


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_survives_being_saved_and_read_again(path, tmp_path):
    config = load(path)
    config.dump(tmp_path / path.name)
    again = Config.fromfile(tmp_path / path.name)
    assert again.model == config.model and again.train_dataloader == config.train_dataloader


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_datasets_are_registered_and_name_the_missing_folder(path, tmp_path):
    dataset = load(path).train_dataloader.dataset
    where = 'latent_file' if dataset.type == 'LatentDataset' else 'data_root'
    dataset = {**dataset, where: str(tmp_path / 'nowhere')}
    with pytest.raises(FileNotFoundError, match='nowhere'):
        DATASETS.build(dataset)


def test_full_size_model_trains_and_predicts_at_256_pixels():
    model = MODELS.build(load(FULL_SIZE).model)
    samples, image = draw_samples(1, 256), torch.rand(1, 3, 256, 256) * 2 - 1
    losses = model.loss(image, samples)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert model.backbone.conv_in.weight.grad.abs().sum() > 0
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        (sample,) = model.eval().predict(image, samples)
    assert sample.seg_logits.data.isfinite().all()
    del model, losses
    gc.collect()


@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='reads /proc')
def test_full_size_model_fits_in_20_gib():
    # After the test above: VmHWM is the most memory this process ever held.
    rows = Path('/proc/self/status').read_text().splitlines()
    (line,) = [row for row in rows if row.startswith('VmHWM')]
    assert int(line.split()[1]) / 2**20 < 20
