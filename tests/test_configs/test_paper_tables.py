"""Configs of the paper's tables: what each changes, and that each trains, at a tiny size."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT, draw_samples, load_tool, tiny_config
from diffusers import DDIMScheduler
from mmengine.config import Config
from mmengine.model import initialize
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmseg.registry import MODELS
from safetensors.torch import save_file
from shipped_configs import CONFIGS, FULL_SIZE, LEAVES, TABLE_1, load

from mmdiffdis.models import DiffusionSegmentor

test_tool = load_tool('test.py')

# Config -> its base, and the settings in which the two differ.
ABLATIONS = {
    'sd-turbo_wo-cutmix': (None, {'model.data_preprocessor.cutmix'}),
    'sd-turbo_wo-cutmix-swci': ('sd-turbo_wo-cutmix', {'model.backbone.swci'}),
    'sd-turbo_wo-cutmix-swci-dbia': ('sd-turbo_wo-cutmix-swci', {'model.neck.interaction'}),
    'sd-turbo_wo-cutmix-swci_concat': ('sd-turbo_wo-cutmix-swci', {'model.neck.interaction'}),
    'sd-turbo_vanilla': ('sd-turbo_wo-cutmix-swci-dbia', {'model.edge'}),
    'scratch_vanilla': ('sd-turbo_vanilla', {'model.init_cfg.unet'}),
    'sd-turbo_vanilla_train1of2-test2': (
        'sd-turbo_vanilla',
        {'model.train_cfg.timesteps', 'model.test_cfg.num_steps'},
    ),
    'sd-turbo_vanilla_train2-test2': (
        'sd-turbo_vanilla',
        {'model.train_cfg.num_steps', 'model.test_cfg.num_steps'},
    ),
    'sd21_vanilla': ('sd-turbo_vanilla', {'model.init_cfg.pretrained'}),
    'sd21_vanilla_train1of1000-test10': (
        'sd21_vanilla',
        {'model.train_cfg.timesteps', 'model.test_cfg.num_steps'},
    ),
}


def path_of(name: str | None) -> Path:
    if name is None:
        return FULL_SIZE
    return CONFIGS / f'diffdis/ablations/diffdis_{name}_1xb4-90e_dis5k-1024x1024.py'


def differences(a, b, path: str = '') -> set[str]:
    """Returns the dotted keys of the settings in which two nested dicts differ."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return set() if a == b else {path}
    absent = object()
    return {
        difference
        for key in {*a, *b}
        for difference in differences(
            a.get(key, absent), b.get(key, absent), f'{path}.{key}' if path else key
        )
    }


def shrink(path: Path) -> dict:
    """Returns the config's model at the width of the tests' tiny one, with all its options."""
    model, tiny = load(path).to_dict()['model'], tiny_config()
    sizes = {key: value for key, value in tiny['backbone'].items() if key not in ('bde', 'swci')}
    small = dict(model, vae=tiny['vae'], init_cfg=None)
    if 'backbone' in model:
        small['backbone'] = {**model['backbone'], **sizes}
    return small


def test_each_column_of_table_2_is_a_config_of_its_size_and_protocol():
    page = (ROOT / 'docs/paper_tables.md').read_text()
    section = re.search(r'(?ms)^## Table 2.*?(?=^## )', page)[0]
    columns = re.findall(r'(?m)^\| \S+ \| `(\S+-1024x1024)`', section)
    assert len(columns) == 12
    small = re.findall(r'configs/(\S+)_\$small', section)
    for name in (
        *columns,
        *(f'{Path(path).name}_1xb16-1k2_synthetic-dis-128x128' for path in small),
    ):
        (path,) = (path for path in LEAVES if path.stem == name)
        config = load(path)
        assert config.test_evaluator.protocol == ('diffdis' if name in columns else 'soft')
        assert name.endswith(f'-{config.scale[0]}x{config.scale[1]}')
    benchmarked = re.findall(r'\S+-1024x1024', section.split('benchmark.py')[1])
    assert set(columns) < set(benchmarked) <= {path.stem for path in LEAVES}


def test_differences_are_found_at_every_depth():
    a = dict(x=1, y=dict(z=[1], w=None), only=0)
    assert differences(a, a) == set()
    assert differences(a, dict(x=2, y=dict(z=[2], w=None), only=0)) == {'x', 'y.z'}
    assert differences(a, dict(x=1, y=dict(z=[1], w=dict(v=0)))) == {'y.w', 'only'}
    assert differences(dict(y=dict(w=None)), dict(y={})) == {'y.w'}


def test_every_ablation_is_listed_here():
    assert {*CONFIGS.glob('*/ablations/*.py')} == {path_of(name) for name in ABLATIONS}


@pytest.mark.parametrize('name', ABLATIONS)
def test_ablation_differs_from_its_base_in_what_it_ablates(name):
    base, ablated = ABLATIONS[name]
    path, base = path_of(name), path_of(base)
    (inherited,) = re.findall(r"^_base_ = '(.+)'$", path.read_text(), re.MULTILINE)
    assert (path.parent / inherited).resolve() == base
    assert differences(load(base).to_dict(), load(path).to_dict()) == ablated


def test_reconstruction_differs_in_the_model_and_shares_its_autoencoder():
    full, table_1 = load(FULL_SIZE).to_dict(), load(TABLE_1).to_dict()
    assert differences({**full, 'model': 0}, {**table_1, 'model': 0}) == set()
    assert table_1['model']['vae'] == full['model']['vae']
    assert table_1['model']['size'] == (1024, 1024)


PAPER = {  # what each row is about, by the paper's text: edge, interaction, SWCI, CutMix
    None: (True, 'mutual', True, True),
    'sd-turbo_wo-cutmix': (True, 'mutual', True, False),
    'sd-turbo_wo-cutmix-swci': (True, 'mutual', False, False),
    'sd-turbo_wo-cutmix-swci_concat': (True, 'concat', False, False),
    'sd-turbo_wo-cutmix-swci-dbia': (True, None, False, False),
}
PAPER |= {name: (False, None, False, False) for name in ABLATIONS if 'vanilla' in name}


@pytest.mark.parametrize('name', PAPER)
def test_model_has_the_parts_that_the_paper_says(name):
    model = MODELS.build(shrink(path_of(name)))
    attention = model.neck.transformer.mutual_attention
    parts = (
        'edge' in model.targets,
        attention and attention.interaction,
        model.backbone.swci is not None,
        model.data_preprocessor.cutmix is not None,
    )
    assert parts == PAPER[name]


STEPS = {  # timesteps in training, timesteps at test
    'sd-turbo_vanilla': ({999}, [999]),
    'sd-turbo_vanilla_train1of2-test2': ({999, 499}, [999, 499]),
    'sd-turbo_vanilla_train2-test2': ([999, 499], [999, 499]),
    'sd21_vanilla_train1of1000-test10': (set(range(1000)), list(range(999, 0, -100))),
}


@pytest.mark.parametrize('name', STEPS)
def test_denoising_takes_the_steps_that_the_paper_says(name):
    training, test = STEPS[name]
    model = MODELS.build(shrink(path_of(name)))
    assert model.test_timesteps == test
    steps = model.scheduler.training_timesteps(**model.train_cfg, batch_size=20000, num_halves=1)
    if isinstance(training, list):  # one after another
        assert steps == training
    else:  # one, drawn per image
        (drawn,) = steps
        assert set(torch.as_tensor(drawn).flatten().tolist()) == training


@pytest.mark.slow
@pytest.mark.parametrize('path', [FULL_SIZE, *map(path_of, ABLATIONS)], ids=lambda path: path.stem)
def test_tiny_version_trains_and_predicts(path):
    torch.manual_seed(0)
    model = MODELS.build(shrink(path))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    inputs = list(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    for _ in range(2):
        logged = model.train_step(dict(inputs=inputs, data_samples=draw_samples()), optimizer)
        assert torch.isfinite(logged['loss'])
    trained = {
        key.split('.')[0]
        for key, value in model.state_dict().items()
        if (value != before[key]).any()
    }
    assert trained == {'backbone', 'neck'}
    samples = draw_samples(ori_shape=(40, 30))
    first, second = model.eval().test_step(dict(inputs=inputs, data_samples=samples))
    for sample in (first, second):
        mask = sample.seg_logits.data
        assert mask.shape == (1, 40, 30) and mask.min() >= 0 and mask.max() <= 1
    assert not torch.equal(first.seg_logits.data, second.seg_logits.data)


def tiny_run(path: Path, root: Path, work_dir: Path, side: int = 64) -> Config:
    """Returns the whole config with a tiny model, on a few small images."""
    cfg = load(path)
    cfg.model = shrink(path)
    if 'size' in cfg.model:
        cfg.model.size = (side, side)
    cfg.work_dir = str(work_dir)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(root)
        for step in loader.dataset.pipeline:
            if step['type'] == 'DISResize':
                step['scale'] = (side, side)
    for resize in cfg.tta_pipeline[1]['transforms'][0]:
        resize['scale'] = tuple(length * side // 1024 for length in resize['scale'])
    cfg.test_dataloader.dataset.subset = 'DIS-VD'
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.env_cfg.dist_cfg.backend = 'gloo'
    return cfg


@pytest.mark.slow
def test_runner_trains_and_scores_a_row_of_a_table(write_set, tmp_path):
    """Two iterations, a validation and a test of one whole config: hooks, schedule, data."""
    root = write_set(tmp_path, 'DIS-TR', tuple('abcdefgh'))
    write_set(tmp_path, 'DIS-VD', ('a', 'b'))
    runner = Runner.from_cfg(tiny_run(path_of('sd-turbo_vanilla'), root, tmp_path / 'work'))
    runner.train()
    assert runner.iter == 2
    scores = runner.test()
    assert set(scores) == {'maxF', 'wF', 'E', 'S', 'MAE'}
    (metric,) = runner.test_loop.evaluator.metrics
    assert metric.protocol == dict(quantise=True, min_max=True, binarise=0.5)


@pytest.mark.slow
def test_test_tool_records_the_six_passes_and_the_seeds(write_set, tmp_path, monkeypatch):
    """tools/test.py --tta on the full-size config, its model tiny and its sizes a quarter."""
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg = tiny_run(FULL_SIZE, write_set(tmp_path, 'DIS-VD', ('a',)), tmp_path / 'work', side=256)
    cfg.model.test_cfg.seed = [0, 1]
    cfg.dump(tmp_path / 'tiny.py')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'tiny.pth')
    passes = []
    predict = DiffusionSegmentor.predict_maps

    def count(model, inputs, data_samples):
        flips = [bool(sample.metainfo.get('flip')) for sample in data_samples]
        passes.extend((tuple(inputs.shape[2:]), flip) for flip in flips)
        return predict(model, inputs, data_samples)

    monkeypatch.setattr(DiffusionSegmentor, 'predict_maps', count)
    written = {}
    for name, arguments in (('plain', []), ('tta', ['--tta'])):
        out = tmp_path / f'{name}.json'
        command = [str(tmp_path / 'tiny.py'), str(tmp_path / 'tiny.pth'), '--out', str(out)]
        test_tool.main([*command, *arguments])
        written[name] = json.loads(out.read_text())
    sizes = [(side, side) for side in (192, 256, 320)]
    assert sorted(passes[1:]) == [(size, flip) for size in sizes for flip in (False, True)]
    assert written['plain']['tta'] is False
    assert written['tta']['tta'] == dict(
        passes=6,
        sizes=[[192, 192], [256, 256], [320, 320]],
        type='DISTTAModel',
        min_max=True,
        scale=None,
    )
    assert written['tta']['seed'] == written['plain']['seed'] == [0, 1]
    assert written['tta']['metrics'] != written['plain']['metrics']


def test_table_1_is_scored(write_set, tmp_path):
    root = write_set(tmp_path, 'DIS-VD', ('a', 'b'))
    scores = Runner.from_cfg(tiny_run(TABLE_1, root, tmp_path / 'work')).test()
    assert 0 < scores['MAE'] < 1


def test_only_the_unet_of_the_from_scratch_config_is_random(tmp_path):
    """VAE and prompt are Stable Diffusion's; the U-Net and its prediction type stay."""
    model = MODELS.build(shrink(path_of('scratch_vanilla')))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    vae = MODELS.build(tiny_config()['vae'])
    vae.autoencoder.save_pretrained(tmp_path / 'vae')
    DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule='scaled_linear',
        prediction_type='v_prediction',
    ).save_pretrained(tmp_path / 'scheduler')
    prompt = torch.rand_like(model.prompt)
    save_file(dict(prompt=prompt), tmp_path / 'prompt.safetensors')

    init_cfg = load(path_of('scratch_vanilla')).to_dict()['model']['init_cfg'] | dict(
        pretrained=str(tmp_path), prompt_embedding=str(tmp_path / 'prompt.safetensors')
    )
    initialize(model, init_cfg)
    after = model.state_dict()
    assert torch.equal(after['prompt'], prompt)
    for key, value in vae.state_dict().items():
        assert torch.equal(after[f'vae.{key}'], value)
    unet = [key for key in before if key.startswith(('backbone.', 'neck.'))]
    assert unet and all(torch.equal(after[key], before[key]) for key in unet)
    assert model.scheduler.prediction_type == 'epsilon'


def test_document_names_exactly_the_configs_of_the_tables():
    text = (ROOT / 'docs' / 'paper_tables.md').read_text()
    text = text.replace('$C/', 'configs/diffdis/').replace('$A/', 'configs/diffdis/ablations/')
    named = {ROOT / path for path in re.findall(r'configs/\S+?\.py', text)}
    assert named == {FULL_SIZE, TABLE_1, *map(path_of, ABLATIONS)}
