"""Every config builds, is listed, and stretches predictions only where its release does."""

import gc
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, draw_samples
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, METRICS, MODELS, TRANSFORMS
from shipped_configs import CONFIGS, FULL_SIZE, LEAVES, load

from mmdiffdis.apis.flops import build_on_meta
from mmdiffdis.apis.hub import portable, refuse_code
from mmdiffdis.models.tta import tta_record

# models whose released test stretches each map to [0, 1]
STRETCHED = ('BEN2', 'BSANet', 'ISNet', 'InSPyReNet', 'U2Net')


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_config_builds(path):
    config = load(path)
    model = build_on_meta(config.model)
    assert any(True for _ in model.parameters())
    assert MODELS.build({**config.tta_model, 'module': model}).module is model
    pipelines = [config[f'{split}_dataloader'].dataset for split in ('train', 'val', 'test')]
    pipelines = [dataset.get('pipeline', []) for dataset in pipelines] + [config.tta_pipeline]
    for transform in (transform for pipeline in pipelines for transform in pipeline):
        TRANSFORMS.build(transform)
    for evaluator in ('val_evaluator', 'test_evaluator'):
        METRICS.build(config[evaluator])
    assert config.default_scope == 'mmseg' and config.custom_imports.imports == ['mmdiffdis']


def test_every_config_can_be_published():
    for path in LEAVES:
        config = load(path)
        text = json.dumps(portable(config))
        content = json.loads(text)
        refuse_code(content)
        assert content['model']['type'] == config.model.type
        assert content['test_pipeline'][-1]['type'].startswith('Pack'), path
        assert not any(name in text for name in ('pretrained/', 'data/', '.safetensors')), path


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_dataset_names_the_missing_folder(path, tmp_path):
    dataset = load(path).train_dataloader.dataset
    key = 'latent_file' if dataset.type == 'LatentDataset' else 'data_root'
    with pytest.raises(FileNotFoundError, match='nowhere'):
        DATASETS.build({**dataset, key: str(tmp_path / 'nowhere')})


@pytest.mark.parametrize(
    ('data', 'side', 'pattern'),
    [('synthetic-dis_128x128', 128, '*/*128x128.py'), ('dis5k_1024x1024', 1024, '*/*1024x1024.py')],
)
def test_models_get_height_and_width_of_a_scale_that_is_not_square(tmp_path, data, side, pattern):
    """A scale is (width, height), as MMSegmentation's; a preprocessor's size (height, width)."""
    shutil.copytree(CONFIGS, tmp_path / 'configs')
    path = tmp_path / f'configs/_base_/datasets/{data}.py'
    text = path.read_text().replace(f'scale = ({side}, {side})', f'scale = ({2 * side}, {side})')
    path.write_text(text)
    found = 0
    for path in sorted((tmp_path / 'configs').glob(pattern)):
        if 'size=_base_.scale' not in path.read_text():
            continue
        config = Config.fromfile(path)
        size = config.model.get('size') or config.model.data_preprocessor.size
        assert tuple(size) == tuple(config.scale[::-1]), path.name
        found += tuple(size) == (side, 2 * side)
    assert found >= 3


def test_trainings_can_be_resumed_exactly():
    for path in LEAVES:
        config = load(path)
        assert config.train_dataloader.sampler.type == 'SeededSampler', path
        assert config.default_hooks.random_streams.type == 'RandomStreamsHook', path


def test_only_passes_of_diffdis_and_maps_of_some_baselines_are_stretched():
    for path in LEAVES:
        config = load(path)
        # Table 1 shares all settings but the model's with DiffDIS
        of_table_1 = config.model.type == 'VAEReconstructor' and 'dis5k' in path.name
        of_diffdis = config.model.type == 'DiffusionSegmentor' or of_table_1
        assert config.tta_model.get('min_max', False) is of_diffdis, path
        stretched = (config.model.get('test_cfg') or {}).get('min_max', False)
        assert stretched is (config.model.type in STRETCHED), path


def test_passes_of_test_time_augmentation_are_about_the_size_of_the_test():
    for path in LEAVES:
        config = load(path)
        (size,) = tta_record(config.tta_model, config.test_dataloader.dataset.pipeline)['sizes']
        sizes = tta_record(config.tta_model, config.tta_pipeline)['sizes']
        assert size in sizes, path
        for other in sizes:
            assert other == size or 0.7 <= other[0] / size[0] <= 1.5, path


def test_metafiles_list_every_config_once():
    metafiles = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    folders = {path.relative_to(ROOT).parts[1] for path in LEAVES}
    assert metafiles == [f'configs/{folder}/metafile.yml' for folder in sorted(folders)]
    listed = []
    for metafile in metafiles:
        content = yaml.safe_load((ROOT / metafile).read_text())
        collections = {collection['Name'] for collection in content['Collections']}
        for collection in content['Collections']:
            assert (ROOT / collection['README']).is_file(), metafile
        for model in content['Models']:
            assert model['In Collection'] in collections
            assert model['Name'] == Path(model['Config']).stem
            listed.append(ROOT / model['Config'])
    assert sorted(listed) == LEAVES


def test_readmes_name_every_config_of_their_folder():
    for path in LEAVES:
        if path.parent.name != 'ablations':  # which docs/paper_tables.md lists
            assert path.name in (path.parent / 'README.md').read_text(), path


def train_and_predict_at_full_size() -> float:
    """Returns the peak memory of this process in GiB."""
    init_default_scope('mmseg')
    model = MODELS.build(load(FULL_SIZE).model)
    samples, image = draw_samples(1, 256), torch.rand(1, 3, 256, 256) * 2 - 1
    losses = model.loss(image, samples)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert model.backbone.conv_in.weight.grad.abs().sum() > 0
    del losses
    model.zero_grad(set_to_none=True)
    gc.collect()
    with torch.no_grad():
        (sample,) = model.eval().predict(image, samples)
    assert sample.seg_logits.data.isfinite().all()
    rows = Path('/proc/self/status').read_text().splitlines()
    (peak,) = [row for row in rows if row.startswith('VmHWM')]
    return int(peak.split()[1]) / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='reads /proc')
def test_full_size_model_trains_and_predicts_at_256_pixels_within_20_gib():
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(train_and_predict_at_full_size).result() < 20
