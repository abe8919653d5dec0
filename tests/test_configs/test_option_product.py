"""Every option with every system: it works, or one line says why not."""

import pytest
import torch
from conftest import draw_samples
from mmengine.optim import build_optim_wrapper
from mmseg.registry import HOOKS, MODELS
from shipped_configs import CONFIGS, LEAVES, load

from mmdiffdis.apis.configs import load_config
from mmdiffdis.engine.mixed_precision import check_mixed_precision
from mmdiffdis.engine.options import OPTIONS, check_optimizer
from mmdiffdis.engine.resume import check_strategy

SIDE = 128
NAMES = sorted(path.stem for path in OPTIONS.glob('*.py'))
# One small config of each kind of model.
SYSTEMS = {}
for _path in LEAVES:
    if f'synthetic-dis-{SIDE}x{SIDE}' in _path.name:
        SYSTEMS.setdefault((load(_path).model.type, _path.parent.name), _path)
SYSTEMS = {path.stem.split('_1xb')[0]: path for path in SYSTEMS.values()}
SYSTEMS['vae_mask-decoder'] = CONFIGS / 'vae/vae_mask-decoder_1xb8-1k_own-256x256.py'

DIFFDIS = {'diffdis_tiny'}
WITH_VAE = DIFFDIS | {'genpercept_tiny', 'vae_mask-decoder', 'vae_tiny-decoder'}
RECOMPUTED = DIFFDIS | {
    'ben2_small',
    'birefnet_small',
    'deeplabv3plus_small',
    'fpdis_small',
    'genpercept_tiny',
    'ifa_small',
    'inspyrenet_small',
    'isdnet_small',
    'mvanet_small',
    'segformer_small',
    'udun_small',
}
# Option -> the systems that it works with; other options work with all.
WORKS_WITH = dict(
    activation_checkpointing=RECOMPUTED,
    freeze_encoder=DIFFDIS,
    frugal_vae=WITH_VAE,
    lora=DIFFDIS,
)
NEEDS_GPUS = {'deepspeed_zero2': 'strategy', 'float16': 'AmpOptimWrapper', 'fsdp': 'strategy'}


def merged(system, option):
    return load_config(SYSTEMS[system], fragments=[OPTIONS / f'{option}.py'])


@pytest.mark.slow
@pytest.mark.parametrize('option', NAMES)
def test_option_is_merged_or_refused_in_one_line(option):
    for system in SYSTEMS:
        if system in WORKS_WITH.get(option, SYSTEMS):
            assert merged(system, option).to_dict() != load(SYSTEMS[system]).to_dict()
            continue
        with pytest.raises(ValueError, match=rf'option {option}: .* no argument of ') as error:
            merged(system, option)
        assert '\n' not in str(error.value)


def test_trained_autoencoder_is_not_encoded_in_another_precision():
    """It is merged, because only a part of the model's own settings is against it."""
    with pytest.raises(ValueError, match=r"precision='bfloat16' of an autoencoder that is trained"):
        MODELS.build(merged('vae_tiny-decoder', 'frugal_vae').model)


@pytest.mark.parametrize('option', NEEDS_GPUS)
def test_options_for_gpus_are_refused_without_one(option, monkeypatch):
    system = 'isnet_small'
    config = merged(system, option)
    with pytest.raises(ValueError, match=NEEDS_GPUS[option]):
        check_mixed_precision(config, 'cpu')
        check_strategy(config)


def test_deepspeed_clips_gradients_as_the_config_does():
    config = load(SYSTEMS['isnet_small'])
    fragments = [OPTIONS / 'deepspeed_zero2.py']
    config.optim_wrapper.clip_grad = dict(max_norm=0.3)
    changed = load_config(config, fragments=fragments)
    assert changed.strategy.gradient_clipping == 0.3 and 'clip_grad' not in changed.optim_wrapper
    config.optim_wrapper.clip_grad = None
    assert 'gradient_clipping' not in load_config(config, fragments=fragments).strategy
    config.optim_wrapper.clip_grad = dict(max_norm=0.3, norm_type=1)
    with pytest.raises(ValueError, match='clip_grad is no argument of DeepSpeedOptimWrapper'):
        load_config(config, fragments=fragments)


def test_eight_bit_optimizer_keeps_its_kind():
    for kind, expected in (('Adam', 'Adam8bit'), ('AdamW', 'AdamW8bit')):
        config = load(SYSTEMS['isnet_small'])
        config.optim_wrapper.optimizer.type = kind
        before = dict(config.optim_wrapper.optimizer)
        config = load_config(config, fragments=[OPTIONS / 'adamw8bit.py'])
        assert config.optim_wrapper.optimizer == {**before, 'type': expected}
    config.optim_wrapper.optimizer.type = 'SGD'
    with pytest.raises(ValueError, match=r"is SGD, expected one of \['Adam', 'AdamW'\]"):
        load_config(config, fragments=[OPTIONS / 'adamw8bit.py'])


def test_missing_package_is_named():
    config = merged('isnet_small', 'adamw8bit')
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match='pip install bitsandbytes'):
            check_optimizer(config)
    else:
        check_optimizer(config)


def without_weights(settings):
    for value in settings.values():
        if isinstance(value, dict):
            without_weights(value)
    if settings.get('init_cfg'):
        settings['init_cfg'] = None


# A trained autoencoder refuses a precision; CPUs take minutes for TAESD's width in half precision.
LEFT_OUT = {
    ('vae_tiny-decoder', 'frugal_vae'),
    ('vae_mask-decoder', 'frugal_vae'),
    ('vae_mask-decoder', 'float16'),
}

TRAINED = [
    (system, option)
    for option in NAMES
    if option not in {'adamw8bit', 'compile', 'deepspeed_zero2', 'fsdp'}
    for system in SYSTEMS
    if system in WORKS_WITH.get(option, SYSTEMS) and (system, option) not in LEFT_OUT
]


@pytest.mark.slow
@pytest.mark.parametrize(('system', 'option'), TRAINED)
def test_option_trains_a_step(system, option):
    config = merged(system, option)
    without_weights(config.model)
    half = config.optim_wrapper.type == 'AmpOptimWrapper'
    if half:  # in the arithmetic of a GPU without bfloat16
        config.optim_wrapper = dict(type='OptimWrapper', optimizer=config.optim_wrapper.optimizer)
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    if 'ema' in config.default_hooks:
        HOOKS.build(config.default_hooks.ema)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    images = [torch.randint(256, (3, SIDE, SIDE), dtype=torch.uint8) for _ in range(2)]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.autocast('cpu', torch.float16, enabled=half):
        wrapper.initialize_count_status(model, 0, 4)
        for _ in range(1 if half else 4):  # float16 takes CPUs a hundred times as long
            data = dict(inputs=images, data_samples=draw_samples(2, SIDE))
            losses = model.train_step(data, wrapper)
    assert all(torch.as_tensor(loss).isfinite() for loss in losses.values()), losses
    changed = [n for n, p in model.named_parameters() if not torch.equal(before[n], p)]
    assert changed and all(model.get_parameter(name).requires_grad for name in changed)
